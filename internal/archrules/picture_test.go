package archrules_test

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestPicture holds the picture in docs/architecture.md to the table of rooms: each room that runs has its place in it, and
// every arrow between two rooms is one that they may follow.
func TestPicture(t *testing.T) {
	t.Parallel()
	svg, err := os.ReadFile("../../docs/rooms.svg")
	if err != nil {
		t.Fatal(err)
	}
	var drawn []string
	for _, m := range regexp.MustCompile(`data-room="([^"]+)"`).FindAllSubmatch(svg, -1) {
		drawn = append(drawn, string(m[1]))
	}
	slices.Sort(drawn)
	var run []string
	for _, room := range slices.Sorted(maps.Keys(rooms)) {
		if !below(room, "internal") && !below(room, "test") && !slices.Contains(testSupport, room) {
			run = append(run, room)
		}
	}
	if !slices.Equal(drawn, run) {
		t.Errorf("the picture has the rooms\n%s, the table\n%s", strings.Join(drawn, ", "), strings.Join(run, ", "))
	}
	arrows := regexp.MustCompile(`data-from="([^"]+)" data-to="([^"]+)"`).FindAllSubmatch(svg, -1)
	if len(arrows) < 8 {
		t.Errorf("the picture has %d arrows", len(arrows))
	}
	for _, m := range arrows {
		from, to := string(m[1]), string(m[2])
		if why := refused(from, roomOf(from), module+to); why != "" {
			t.Errorf("the picture has an arrow from %s to %s: %s", from, to, why)
		}
	}
}
