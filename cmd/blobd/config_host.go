package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/blobd/blobd/config"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/vfs"
)

// checkHost tries what a configuration names that a daemon would only meet later, or would make. It leaves nothing behind.
func checkHost(ctx context.Context, c config.Config, s config.Sources) error {
	if err := canHold(c.CacheDir); err != nil {
		return s.Mistake("cache_dir", err.Error(), "give a folder that this user can write")
	}
	for name, one := range c.Caches.OnDisk() {
		if one.Dir == "" {
			continue
		}
		if err := canHold(one.Dir); err != nil {
			return s.Mistake("caches."+name+".dir", err.Error(), "give a folder that this user can write")
		}
	}
	return checkLogins(ctx, c, s)
}

// canHold reports why a folder can't be made, or be written in. A disk that takes no writes now is no reason: serve works
// without it.
func canHold(dir string) error {
	at := dir
	if err := trustFolder(dir); err != nil {
		return err
	}
	for ; ; at = filepath.Dir(at) {
		fi, err := os.Stat(at)
		if err == nil && !fi.IsDir() {
			return fmt.Errorf("%s is not a folder", at)
		}
		if err == nil || at == filepath.Dir(at) {
			break
		}
	}
	try, err := os.MkdirTemp(at, ".blobd-check-")
	if err == nil {
		return os.Remove(try)
	}
	if vfs.IsDiskTrouble(err) {
		return nil
	}
	if failed, ok := errors.AsType[*fs.PathError](err); ok {
		err = failed.Err // its path is one that nobody asked for
	}
	return fmt.Errorf("can't write in %s: %w", at, err)
}

// checkLogins looks for every login that a registry names, unless their file may still come.
func checkLogins(ctx context.Context, c config.Config, s config.Sources) error {
	o, err := fetcherOptions(c, s)
	if err != nil {
		return err
	}
	if _, err := os.Stat(c.Credentials.File); err != nil {
		return nil
	}
	for _, host := range slices.Sorted(maps.Keys(c.Registries)) {
		_, err := o.Credentials.Get(ctx, c.Registries[host].Credential, host)
		if failed, ok := errors.AsType[*fault.Error](err); ok {
			return s.Mistake("registries."+host+".credential", failed.Error(), "name a login of "+c.Credentials.File)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
