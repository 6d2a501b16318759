package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
	"github.com/blobd/blobd/client"
)

// completeLimit is how long a shell may wait for an answer to a tab.
const completeLimit = time.Second

// completeRef completes a first argument with the references that the cache knows. It offers nothing to those who may
// not list them, and never a file's name.
func (a *app) completeRef(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completeLimit)
	defer cancel()
	return a.knownRefs(ctx, typed), cobra.ShellCompDirectiveNoFileComp
}

// completeCopy completes the arguments of cp: a reference, then a place on disk.
func (a *app) completeCopy(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) == 1 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return a.completeRef(cmd, args, typed)
}

// knownRefs are the references with a tag that start with what was typed; none when they can't be had.
func (a *app) knownRefs(ctx context.Context, typed string) []cobra.Completion {
	c, err := client.Dial(ctx, client.WithSocket(a.socket), client.WithStartTimeout(0))
	if err != nil {
		return nil
	}
	defer c.Close()
	stream, err := c.Admin().ListArtifacts(ctx, &blobdv1.ListArtifactsRequest{})
	if err != nil {
		return nil
	}
	var refs []cobra.Completion
	for {
		m, err := stream.Recv()
		if err != nil { // the end, or no right to list
			return refs
		}
		for _, artifact := range m.GetArtifacts() {
			for _, tag := range artifact.GetTags() {
				ref := artifact.GetRegistry() + "/" + artifact.GetRepository() + ":" + tag
				if strings.HasPrefix(ref, typed) {
					refs = append(refs, ref)
				}
			}
		}
	}
}
