package e2e

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
)

const (
	hostileReferences = 100_000
	hostileMethods    = 2_000
	hostileCallers    = 64 // as many at a time: enough to keep two cores busy
)

// hostile is the i-th reference, none like another. Of a hundred, 95 are refused as they stand; of the others, two name what a
// live registry does not have, two registries that are not dialled, and one a host without an address.
func hostile(i int, registry string) string {
	switch i % 100 {
	case 0:
		if i%1000 == 0 { // each of these is remembered on disk
			return fmt.Sprintf("%s/r%d:v%d", registry, i, i)
		}
		fallthrough
	case 1:
		return fmt.Sprintf("%s/r%d@sha256:%064x", registry, i, i)
	case 2:
		return fmt.Sprintf("169.254.%d.%d:%d/r:v%d", i>>8&255, i&255, 1024+i%60000, i)
	case 3:
		return fmt.Sprintf("169.254.%d.%d/r/%d", i>>8&255, i&255, i)
	case 4:
		return fmt.Sprintf("%s%d.example/r", strings.Repeat("x", 300), i) // no resolver is asked for such a name
	}
	switch i % 8 {
	case 0:
		return fmt.Sprintf("%s/r%d:v%d\x00\n\"},{cache=\"evil%d\"", registry, i, i, i)
	case 1:
		return fmt.Sprintf("HOST%d.example/UPPER/case:v1", i)
	case 2:
		return fmt.Sprintf("%s/r@sha256:%d", registry, i)
	case 3:
		return fmt.Sprintf("h%d.example:%d/r:v1", i, 65536+i)
	case 4:
		return fmt.Sprintf("%s/../%d", registry, i)
	case 5:
		return fmt.Sprintf("%s/r:%d%s", registry, i, strings.Repeat("t", 200))
	case 6:
		return fmt.Sprintf("h%d.example/rö:v1", i)
	}
	return fmt.Sprintf("h%d.example/r%d:v%d@md5:%032x", i, i, i, i)
}

// TestHostileReferences: whatever callers ask for, no series comes and none goes; neither for methods that do not exist.
func TestHostileReferences(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{plain: true, config: "log: {level: error}\nregistries: {r.example: {}}\n"})
	conn, err := grpc.NewClient("unix:"+w.Socket(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	blobd := blobdv1.NewBlobdServiceClient(conn)
	before := w.series()

	outcomes := map[codes.Code]*atomic.Int64{}
	for c := range codes.Code(17) {
		outcomes[c] = new(atomic.Int64)
	}
	atOnce(hostileReferences, func(i int) {
		_, err := blobd.Pull(t.Context(), &blobdv1.PullRequest{Reference: hostile(i, w.reg.Host())})
		outcomes[status.Code(err)].Add(1)
	})
	atOnce(hostileMethods, func(i int) {
		service := []string{"blobd.v1.BlobdService", fmt.Sprintf("evil%d.Service", i)}[i%2]
		err := conn.Invoke(t.Context(), fmt.Sprintf("/%s/Method%d", service, i), &emptypb.Empty{}, &emptypb.Empty{})
		outcomes[status.Code(err)].Add(1)
	})
	sameSeries(t, "hostile callers", before, w.series())

	want := map[codes.Code]int64{
		codes.InvalidArgument: hostileReferences * 95 / 100, codes.NotFound: hostileReferences * 2 / 100,
		codes.FailedPrecondition: hostileReferences * 2 / 100, codes.Unavailable: hostileReferences / 100,
		codes.Unimplemented: hostileMethods,
	}
	for c, n := range outcomes {
		if got := n.Load(); got != want[c] {
			t.Errorf("%d calls ended in %v, want %d", got, c, want[c])
		}
	}
}

// atOnce calls f for 0 to n-1 from hostileCallers goroutines.
func atOnce(n int, f func(i int)) {
	var next atomic.Int64
	var all sync.WaitGroup
	for range hostileCallers {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	all.Wait()
}
