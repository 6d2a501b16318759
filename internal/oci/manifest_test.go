package oci_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

// The type of an artifact stands in every list of artifacts: it is a name, and no more.
func TestArtifactTypeIsAName(t *testing.T) {
	const empty = `"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2`
	for _, n := range []int{255, 256, 1 << 20} {
		name := strings.Repeat("a", n)
		for _, raw := range []string{
			fmt.Sprintf(`{"schemaVersion":2,"artifactType":%q,"config":{"mediaType":"a/b",%s},"layers":[]}`, name, empty),
			fmt.Sprintf(`{"schemaVersion":2,"config":{"mediaType":%q,%s},"layers":[]}`, name, empty),
		} {
			m, err := oci.ParseManifest(oci.MediaTypeImageManifest, []byte(raw))
			if n <= 255 && (err != nil || m.ArtifactType != name) || n > 255 && !errors.Is(err, fault.ManifestInvalid) {
				t.Errorf("%d characters: %v", n, err)
			}
		}
	}
}
