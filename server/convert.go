package server

import (
	"encoding/hex"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
	"github.com/blobd/blobd/archive"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/pullthrough"
)

// folderMode is the permission bits of a folder: archives hold none.
const folderMode = 0o755

func optionsOf(o *blobdv1.ReadOptions) (pullthrough.Options, error) {
	out := pullthrough.Options{
		NoCache:         o.GetNoCache(),
		RequireFresh:    o.GetRequireFresh(),
		RequireVerified: o.GetRequireVerified(),
	}
	if o.GetMaxAge() != nil {
		age, err := durationOf("max_age", o.MaxAge)
		if err != nil {
			return out, err
		}
		out.MaxAge = &age
	}
	return out, nil
}

// durationOf reads a duration that must not be negative; absent is 0.
func durationOf(field string, d *durationpb.Duration) (time.Duration, error) {
	if d == nil {
		return 0, nil
	}
	if err := d.CheckValid(); err != nil {
		return 0, fault.Wrap(fault.InvalidArgument, err, "%s", field)
	}
	if d.AsDuration() < 0 {
		return 0, fault.New(fault.InvalidArgument, "%s is negative: %s", field, d.AsDuration())
	}
	return d.AsDuration(), nil
}

func resolutionTo(r pullthrough.Resolution) *blobdv1.Resolution {
	return &blobdv1.Resolution{
		Reference:    r.Reference.WithDigest(r.Digest).String(),
		Digest:       r.Digest.String(),
		MediaType:    r.MediaType,
		ArtifactType: r.ArtifactType,
		Stale:        r.Stale,
		Age:          durationpb.New(r.Age),
		Steps:        stepsTo(r.Steps),
	}
}

func stepsTo(steps []pullthrough.Step) []*blobdv1.Step {
	out := make([]*blobdv1.Step, len(steps))
	for i, s := range steps {
		out[i] = &blobdv1.Step{Step: s.Step, Source: s.Source}
	}
	return out
}

func nodeTo(n archive.Node) *blobdv1.Entry {
	if n.Dir {
		return &blobdv1.Entry{Path: n.Path, Directory: true, Mode: folderMode}
	}
	return entryTo(n.Entry)
}

func entryTo(e *archive.Entry) *blobdv1.Entry {
	out := &blobdv1.Entry{
		Path:     e.Path,
		Size:     e.Size,
		Mode:     uint32(e.Mode.Perm()),
		Uid:      e.UID,
		Gid:      e.GID,
		Modified: timestamppb.New(e.Time()),
		Encoding: encodingOf(e.Locator),
	}
	if e.HasSum {
		out.Digest = "sha256:" + hex.EncodeToString(e.Sum[:])
	}
	return out
}

// encodingOf names how an entry is kept in its archive; "" for a locator that the contract has no word for yet.
func encodingOf(l archive.Locator) string {
	switch l := l.(type) {
	case archive.Inline:
		return "inline"
	case archive.Range:
		switch l.Codec {
		case archive.Stored:
			return "stored"
		case archive.Zstd:
			return "zstd"
		}
	case archive.Member:
		return "tar+gzip"
	}
	return ""
}
