package config

import (
	"errors"
	"os/user"
	"strconv"

	"github.com/blobd/blobd/internal/fault"
)

// User is a user of this host, by uid or by name.
type User string

// AdminUIDs are the uids of AdminUsers. It fails with fault.InvalidArgument for a name that this host does not know.
func (c Config) AdminUIDs() ([]uint32, error) {
	return resolveUsers(c.AdminUsers, func(name string) (string, error) {
		u, err := user.Lookup(name)
		if err != nil {
			return "", err
		}
		return u.Uid, nil
	})
}

func resolveUsers(users []User, lookup func(name string) (uid string, err error)) ([]uint32, error) {
	uids := make([]uint32, 0, len(users))
	for _, u := range users {
		uid := string(u)
		if !numeric(uid) {
			found, err := lookup(uid)
			if err != nil {
				return nil, fault.Wrap(fault.InvalidArgument, err, "config: admin_users: no user %q on this host", u).
					Try("write an existing name or a uid")
			}
			uid = found
		}
		n, err := strconv.ParseUint(uid, 10, 32)
		if err != nil {
			return nil, fault.Wrap(fault.InvalidArgument, errors.Unwrap(err), "config: admin_users: %q is not a uid", uid).
				Try("write a number from 0 to 4294967295, or a name")
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
