package client

import (
	"time"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
)

// Resolution is what a reference meant, and how sure that is.
type Resolution struct {
	Reference    string // registry/repository@digest
	Digest       string
	MediaType    string
	ArtifactType string
	Stale        bool          // the registry could not be asked: this is the tag's last known digest
	Age          time.Duration // since the registry last confirmed the tag; 0 for a reference by digest
	Steps        []Step
}

// Step is one step on the way to an answer ("ref", "manifest", "index", "content", "blocks"), and where it was answered
// from ("memory", "cache", "upstream", "request", "derived"). Both sets are open.
type Step struct{ Step, Source string }

func resolution(r *blobdv1.Resolution) Resolution {
	return Resolution{
		Reference: r.GetReference(), Digest: r.GetDigest(), MediaType: r.GetMediaType(), ArtifactType: r.GetArtifactType(),
		Stale: r.GetStale(), Age: r.GetAge().AsDuration(), Steps: steps(r.GetSteps()),
	}
}

func steps(in []*blobdv1.Step) []Step {
	out := make([]Step, 0, len(in))
	for _, s := range in {
		out = append(out, Step{Step: s.GetStep(), Source: s.GetSource()})
	}
	return out
}
