package client_test

import (
	"context"
	"log"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"

	"github.com/blobd/blobd/client"
)

// A program that traces with OpenTelemetry has what the daemon does for it in its own traces.
func ExampleWithStatsHandler() {
	defer daemon()()
	ctx := context.Background() // with the program's span
	c, err := client.Dial(ctx, client.WithStatsHandler(otelgrpc.NewClientHandler()))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	site, err := c.Pull(ctx, "registry.example/team/site:v1")
	if err != nil {
		log.Fatal(err)
	}
	page, err := site.WithContext(ctx).ReadFile("index.html")
	if err != nil {
		log.Fatal(err)
	}
	log.Printf("%d bytes", len(page))
}
