package spinpush

import "fmt"

type trigger struct {
	id, kind  string
	component string     // "": it has none, or inline
	inline    *component // a component that has no name of its own
	config    map[string]any
}

// readTrigger reads the i-th trigger of a kind.
func readTrigger(all *table, kind string, i int, item any) *trigger {
	keys, ok := item.(map[string]any)
	t := newTable(all.key(fmt.Sprintf("%s[%d]", kind, i)), keys, all.first)
	if !ok {
		t.fail(wrong("%s must be a table", t.name))
	}
	x := &trigger{kind: kind, id: t.text("id")}
	switch v, ok := t.take("component"); v := v.(type) {
	case string:
		x.component = v
	case map[string]any:
		x.inline = readComponent(newTable(t.key("component"), v, t.first))
	default:
		if ok {
			t.fail(wrong("%s must be a component's name, or a component", t.key("component")))
		}
	}
	t.refuse("components", "blobd knows triggers of one component only", "push it with Spin")
	t.refuse("dependencies", "blobd composes no components", uncomposed)
	x.config = t.values()
	return x
}
