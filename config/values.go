package config

import (
	"math/big"
	"strconv"
	"strings"
	"time"
)

// badValue is a value that can't be right; whoever knows where it stands makes an error of it.
type badValue struct{ why, remedy string }

func (e *badValue) Error() string { return e.why + "; " + e.remedy }

// Size is a number of bytes, written as 512KB (1000 bytes each), 64MiB (1024² each) or a plain number.
type Size int64

// units are in the order that String prefers.
var units = [...]struct {
	name  string
	bytes int64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3}, {"B", 1}, {"", 1},
}

// maxDigits bounds the work: no size that makes sense takes as many.
const maxDigits = 64

// ParseSize reads a size: digits, perhaps a fraction, and one of B, KB, MB, GB, TB, KiB, MiB, GiB, TiB (in any case) or
// no unit. A fraction of a byte is dropped.
func ParseSize(s string) (Size, error) {
	bad := &badValue{strconv.Quote(s) + " is not a size", "write it as 512MiB or 10GiB"}
	digits := strings.TrimRight(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
	unit := strings.TrimSpace(s[len(digits):])
	if digits == "" || len(digits) > maxDigits || strings.Trim(digits, "0123456789.") != "" {
		return 0, bad
	}
	for _, u := range units {
		if !strings.EqualFold(u.name, unit) {
			continue
		}
		n, ok := new(big.Rat).SetString(digits) // a float would make 1000 B of 1.001KB
		if !ok {
			return 0, bad
		}
		n.Mul(n, new(big.Rat).SetInt64(u.bytes))
		bytes := new(big.Int).Quo(n.Num(), n.Denom())
		if !bytes.IsInt64() {
			return 0, bad
		}
		return Size(bytes.Int64()), nil
	}
	return 0, bad
}

// String is the size in the largest binary unit that divides it, which ParseSize reads back to the same Size.
func (s Size) String() string {
	if s == 0 {
		return "0"
	}
	for _, u := range units[:4] {
		if int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}

// MarshalText is String.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText is ParseSize.
func (s *Size) UnmarshalText(text []byte) (err error) {
	*s, err = ParseSize(string(text))
	return err
}

// Cap is the most that one cache may take; 0, written as "", is all of max_size.
type Cap Size

// MarshalText is the size, and "" for all of max_size.
func (c Cap) MarshalText() ([]byte, error) {
	if c == 0 {
		return nil, nil
	}
	return Size(c).MarshalText()
}

// UnmarshalText refuses 0, which could be taken for either end.
func (c *Cap) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*c = 0
		return nil
	}
	s, err := ParseSize(string(text))
	if err == nil && s == 0 {
		err = &badValue{"a cache of size 0 holds nothing", `switch the cache off with "enabled: false"`}
	}
	*c = Cap(s)
	return err
}

// Space is room on a disk: bytes, or where Percent is not 0, that share of the disk's size.
type Space struct {
	Bytes   Size
	Percent float64
}

// MarshalText is "5%" or a size.
func (s Space) MarshalText() ([]byte, error) {
	if s.Percent != 0 {
		return []byte(strconv.FormatFloat(s.Percent, 'f', -1, 64) + "%"), nil
	}
	return s.Bytes.MarshalText()
}

// UnmarshalText reads a size, or a percentage above 0 and below 100; "0%" is 0 bytes.
func (s *Space) UnmarshalText(text []byte) error {
	number, percent := strings.CutSuffix(string(text), "%")
	if !percent {
		bytes, err := ParseSize(number)
		*s = Space{Bytes: bytes}
		return err
	}
	p, err := strconv.ParseFloat(number, 64)
	if err != nil || !(p >= 0 && p < 100) {
		return &badValue{strconv.Quote(string(text)) + " is not a share of a disk", "write it as 5% or 2GiB"}
	}
	*s = Space{Percent: p}
	return nil
}

// Duration is a length of time, never negative, written as 90s, 15m or 24h; 0 and 0s are the same.
type Duration time.Duration

// String is the duration without parts that are zero.
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalText is String.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what time.ParseDuration reads, but for negative ones.
func (d *Duration) UnmarshalText(text []byte) error {
	t, err := time.ParseDuration(string(text))
	if err != nil || t < 0 {
		return &badValue{strconv.Quote(string(text)) + " is not a duration", "write it as 90s, 15m or 24h"}
	}
	*d = Duration(t)
	return nil
}

// TTL is how long a tag's last check stands: a Duration, 0 for ever, or Always.
type TTL Duration

// Always has the registry asked each time.
const Always TTL = -1

// MarshalText is a duration or "always".
func (t TTL) MarshalText() ([]byte, error) {
	if t == Always {
		return []byte("always"), nil
	}
	return Duration(t).MarshalText()
}

// UnmarshalText reads a duration or "always".
func (t *TTL) UnmarshalText(text []byte) error {
	if string(text) == "always" {
		*t = Always
		return nil
	}
	var d Duration
	if d.UnmarshalText(text) != nil {
		return &badValue{strconv.Quote(string(text)) + " is not a time to live",
			"write it as 15m, 0 (never expires) or always (ask each time)"}
	}
	*t = TTL(d)
	return nil
}

// Share is a part of a whole, from 0 to 1.
type Share float64

// MarshalText is the share as a decimal fraction.
func (s Share) MarshalText() ([]byte, error) {
	return []byte(strconv.FormatFloat(float64(s), 'f', -1, 64)), nil
}

// UnmarshalText reads a decimal fraction from 0 to 1.
func (s *Share) UnmarshalText(text []byte) error {
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil || !(f >= 0 && f <= 1) {
		return &badValue{strconv.Quote(string(text)) + " is not a share", "write it as 0.1, between 0 and 1"}
	}
	*s = Share(f)
	return nil
}
