package config

import (
	"fmt"
	"os/user"
	"strconv"
)

// User is a user of this host, by uid or by name.
type User string

// AdminUIDs are the uids of AdminUsers. It fails with fault.InvalidArgument for a name that this host does not know; s is
// what the configuration was loaded from.
func (c Config) AdminUIDs(s Sources) ([]uint32, error) {
	return resolveUsers(c.AdminUsers, s.Mistake, func(name string) (string, error) {
		u, err := user.Lookup(name)
		if err != nil {
			return "", err
		}
		return u.Uid, nil
	})
}

func resolveUsers(
	users []User, mistake func(key, why, remedy string) error, lookup func(name string) (uid string, err error),
) ([]uint32, error) {
	uids := make([]uint32, 0, len(users))
	for i, u := range users {
		key, uid := fmt.Sprintf("admin_users[%d]", i), string(u)
		if !numeric(uid) {
			found, err := lookup(uid)
			if err != nil {
				return nil, mistake(key, fmt.Sprintf("no user %q on this host", u), "write an existing name or a uid")
			}
			uid = found
		}
		n, err := strconv.ParseUint(uid, 10, 32)
		if err != nil {
			return nil, mistake(key, fmt.Sprintf("%q is not a uid", uid), "write a number from 0 to 4294967295, or a name")
		}
		uids = append(uids, uint32(n))
	}
	return uids, nil
}

func numeric(s string) bool {
	for _, r := range s {
		if r < '0' || r > '9' {
			return false
		}
	}
	return s != ""
}
