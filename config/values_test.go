package config

import (
	"encoding"
	"errors"
	"math"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/blobd/blobd/internal/fault"
)

func TestValues(t *testing.T) {
	type value interface {
		encoding.TextUnmarshaler
		encoding.TextMarshaler
	}
	size := func(s Size) value { return &s }
	limit := func(c Cap) value { return &c }
	space := func(bytes Size, percent float64) value { return &Space{Bytes: bytes, Percent: percent} }
	duration := func(d time.Duration) value { v := Duration(d); return &v }
	ttl := func(d time.Duration) value { v := TTL(d); return &v }
	tests := []struct {
		text  string
		want  value  // nil: refused
		shown string // "" when as text
		as    value
	}{
		{"0", size(0), "", new(Size)},
		{"10GiB", size(10 << 30), "", new(Size)},
		{"64 mib", size(64 << 20), "64MiB", new(Size)},
		{"512KB", size(512_000), "500KiB", new(Size)},
		{"1TB", size(1e12), "976562500KiB", new(Size)},
		{"1.5GiB", size(3 << 29), "1536MiB", new(Size)},
		{"1023", size(1023), "1023B", new(Size)},
		{"7b", size(7), "7B", new(Size)},
		{"9223372036854775807", size(math.MaxInt64), "9223372036854775807B", new(Size)},
		{"9223372036854775808", nil, "", new(Size)},
		{"8388608TiB", nil, "", new(Size)},
		{"99999999999999999999TiB", nil, "", new(Size)},
		{"", nil, "", new(Size)}, {"GiB", nil, "", new(Size)}, {"10G", nil, "", new(Size)}, {"-1", nil, "", new(Size)},
		{"1e3", nil, "", new(Size)}, {"0x10", nil, "", new(Size)}, {"1.2.3MiB", nil, "", new(Size)}, {".", nil, "", new(Size)},
		{"NaN", nil, "", new(Size)}, {"Inf", nil, "", new(Size)}, {"5%", nil, "", new(Size)}, {"1 0MiB", nil, "", new(Size)},
		{"", limit(0), "", new(Cap)}, {"1MiB", limit(1 << 20), "", new(Cap)}, {"0", nil, "", new(Cap)}, {"x", nil, "", new(Cap)},
		{"5%", space(0, 5), "", new(Space)}, {"2.5%", space(0, 2.5), "", new(Space)}, {"2GiB", space(2<<30, 0), "", new(Space)},
		{"0", space(0, 0), "", new(Space)}, {"0%", space(0, 0), "0", new(Space)},
		{"100%", nil, "", new(Space)}, {"-1%", nil, "", new(Space)}, {"NaN%", nil, "", new(Space)}, {"%", nil, "", new(Space)},
		{"0", duration(0), "0s", new(Duration)}, {"0s", duration(0), "", new(Duration)},
		{"15m", duration(15 * time.Minute), "", new(Duration)}, {"24h", duration(24 * time.Hour), "", new(Duration)},
		{"90s", duration(90 * time.Second), "1m30s", new(Duration)}, {"1h0m10s", duration(time.Hour + 10*time.Second), "", new(Duration)},
		{"10h20m", duration(10*time.Hour + 20*time.Minute), "", new(Duration)}, {"250ms", duration(250 * time.Millisecond), "", new(Duration)},
		{"15", nil, "", new(Duration)}, {"-1s", nil, "", new(Duration)}, {"", nil, "", new(Duration)}, {"always", nil, "", new(Duration)},
		{"always", ttl(-1), "", new(TTL)}, {"0", ttl(0), "0s", new(TTL)}, {"15m", ttl(15 * time.Minute), "", new(TTL)},
		{"-1ns", nil, "", new(TTL)}, {"never", nil, "", new(TTL)},
	}
	for _, tt := range tests {
		err := tt.as.UnmarshalText([]byte(tt.text))
		if tt.want == nil {
			if bad, ok := errors.AsType[*badValue](err); !ok || bad.remedy == "" {
				t.Errorf("%T %q: got %v, want a refusal with a remedy", tt.as, tt.text, err)
			}
			continue
		}
		if tt.shown == "" {
			tt.shown = tt.text
		}
		want, _ := tt.want.MarshalText()
		got, _ := tt.as.MarshalText()
		if err != nil || string(got) != tt.shown || string(want) != tt.shown {
			t.Errorf("%T %q: got %q, %v, want %q", tt.as, tt.text, got, err, tt.shown)
		}
	}
}

func TestPaths(t *testing.T) {
	tests := []struct {
		name          string
		goos          string
		root          bool
		env           environ
		config, cache string
	}{
		{"root", "linux", true, environ{"HOME=/root"}, "/etc/blobd/config.yaml", "/var/cache/blobd"},
		{"root under systemd", "linux", true, environ{"CACHE_DIRECTORY=/var/cache/x"}, "/etc/blobd/config.yaml", "/var/cache/x"},
		{"user", "linux", false, environ{"HOME=/home/a"}, "/home/a/.config/blobd/config.yaml", "/home/a/.cache/blobd"},
		{"user with XDG", "linux", false, environ{"HOME=/home/a", "XDG_CONFIG_HOME=/c", "XDG_CACHE_HOME=/d"},
			"/c/blobd/config.yaml", "/d/blobd"},
		{"mac", "darwin", false, environ{"HOME=/Users/a"}, "/Users/a/Library/Application Support/blobd/config.yaml",
			"/Users/a/Library/Caches/blobd"},
		{"windows", "windows", false, environ{"AppData=/a", "LocalAppData=/l", "HOME=/h"}, "/a/blobd/config.yaml", "/l/blobd"},
		{"nobody", "linux", false, nil, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := filepath.ToSlash(tt.env.configFile(tt.goos, tt.root)); got != tt.config {
				t.Errorf("config file %q, want %q", got, tt.config)
			}
			if got := filepath.ToSlash(tt.env.cacheDir(tt.goos, tt.root)); got != tt.cache {
				t.Errorf("cache folder %q, want %q", got, tt.cache)
			}
		})
	}
}

func TestResolveUsers(t *testing.T) {
	lookup := func(name string) (string, error) {
		switch name {
		case "alice":
			return "1001", nil
		case "windows":
			return "S-1-5-21", nil
		}
		return "", errors.New("unknown user")
	}
	mistake := func(key, why, remedy string) error { return failure("here", key, why, remedy) }
	tests := []struct {
		users []User
		want  []uint32 // nil: refused
	}{
		{[]User{}, []uint32{}},
		{[]User{"0", "alice", "4294967295"}, []uint32{0, 1001, math.MaxUint32}},
		{[]User{"bob"}, nil}, {[]User{"4294967296"}, nil}, {[]User{"windows"}, nil},
	}
	for _, tt := range tests {
		got, err := resolveUsers(tt.users, mistake, lookup)
		if !slices.Equal(got, tt.want) || (tt.want == nil) != (fault.ReasonOf(err) == fault.InvalidArgument) {
			t.Errorf("%v: got %v, %v, want %v", tt.users, got, err, tt.want)
		}
	}
}
