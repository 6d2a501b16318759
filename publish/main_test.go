package publish_test

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// olareg sweeps its tokens in a goroutine that sleeps for five minutes and has no end.
		goleak.IgnoreAnyFunction("github.com/olareg/olareg/config.(*authController).tokenOpaqueCleanup.func1"))
}
