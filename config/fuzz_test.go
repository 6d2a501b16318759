package config_test

import (
	"math/big"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/blobd/blobd/config"
)

// FuzzSize: a size is the exact product of its number and its unit, cut to whole bytes, and is printed as what is read
// back to it.
func FuzzSize(f *testing.F) {
	for _, s := range []string{
		"", "0", "1", "64MiB", "10 GiB", "1.5GiB", "1.001KB", "1.1TB", "0.1KiB", ".5KiB", "5.", ".", "1.2.3", "-1", "+1", "1e3", "0x10", "1_000", "KiB", "1KIB",
		"1 k", "9223372036854775807", "9223372036854775808", "9007199254740993", "8388607.9999999999999TiB", "8388608TiB", "1/2", "Inf", "\u0661MiB", "1MiB ", " 1MiB",
		strings.Repeat("9", 100), "0." + strings.Repeat("0", 100) + "1",
	} {
		f.Add(s)
	}
	form := regexp.MustCompile(`^([0-9]+\.?[0-9]*|\.[0-9]+) *([A-Za-z]*) *$`)
	units := map[string]int64{
		"": 1, "b": 1, "kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40,
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := config.ParseSize(s)
		m := form.FindStringSubmatch(s)
		if m == nil || units[strings.ToLower(m[2])] == 0 {
			if err == nil {
				t.Fatalf("%q was taken for %d", s, got)
			}
			return
		}
		want, _ := new(big.Rat).SetString("0" + m[1] + "0")
		if !strings.Contains(m[1], ".") {
			want, _ = new(big.Rat).SetString(m[1])
		}
		want.Mul(want, new(big.Rat).SetInt64(units[strings.ToLower(m[2])]))
		whole := new(big.Int).Quo(want.Num(), want.Denom())
		if err == nil && (!whole.IsInt64() || int64(got) != whole.Int64()) || err != nil && whole.IsInt64() && len(m[1]) < 60 {
			t.Fatalf("%q is %d, %v; want %s", s, got, err, whole)
		}
		if err != nil {
			return
		}
		if again, err := config.ParseSize(got.String()); err != nil || again != got {
			t.Fatalf("%q is %d, printed as %s, read as %d, %v", s, got, got, again, err)
		}
	})
}

// FuzzDuration: a duration is what the standard library says, never negative, and is printed as what is read back to it.
func FuzzDuration(f *testing.F) {
	for _, s := range []string{"", "0", "0s", "90s", "15m", "24h", "1h0m5s", "100m0s", "-1s", "1.5h", "1us", "2562047h47m16.854775807s", "1d", "10h0m0s", "1", "1 s", "m"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var d config.Duration
		err := d.UnmarshalText([]byte(s))
		want, wantErr := time.ParseDuration(s)
		if (err == nil) != (wantErr == nil && want >= 0) || err == nil && time.Duration(d) != want {
			t.Fatalf("%q is %v, %v; want %v, %v", s, time.Duration(d), err, want, wantErr)
		}
		if err != nil {
			return
		}
		var again config.Duration
		if err := again.UnmarshalText([]byte(d.String())); err != nil || again != d {
			t.Fatalf("%q is %v, printed as %s, read as %v, %v", s, time.Duration(d), d, time.Duration(again), err)
		}
	})
}
