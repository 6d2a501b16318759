package spinpush_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/publish/spinpush"
)

const (
	head = "spin_manifest_version = 2\napplication.name = \"x\"\n"
	none = head + "trigger = {}\n"
)

// TestRefuses has every manifest that is not pushed, and what is said of it.
func TestRefuses(t *testing.T) {
	component := func(keys string) string { return none + "[component.a]\nsource = \"a.wasm\"\n" + keys }
	trigger := func(keys string) string {
		return head + "[component.a]\nsource = \"a.wasm\"\n[[trigger.http]]\n" + keys
	}
	for name, c := range map[string]struct {
		manifest string
		says     []string
	}{
		"not TOML":             {"a = \nb", []string{"line 1"}},
		"not UTF-8":            {"a = \"\xff\"", []string{"UTF-8"}},
		"a key twice":          {head + head, []string{"spin_manifest_version", "already been defined"}},
		"version 1":            {`spin_manifest_version = "1"`, []string{"spin_manifest_version", "version 1", "spin doctor"}},
		"version 1 as it was":  {`spin_version = "1"`, []string{"version 1", "spin doctor"}},
		"version 3":            {`spin_manifest_version = 3`, []string{"spin_manifest_version", "not 3"}},
		"no version":           {`application.name = "x"`, []string{"spin_manifest_version is missing"}},
		"no application":       {"spin_manifest_version = 2\ntrigger = {}", []string{"application.name is missing"}},
		"no triggers":          {head, []string{"trigger is missing"}},
		"unknown table":        {none + "[componet.a]\nsource = \"a.wasm\"", []string{"componet: there is no such key"}},
		"unknown key":          {component(`fils = []`), []string{"component.a.fils: there is no such key"}},
		"unknown detail":       {none + "[application]\ncolor = 1", []string{"application"}},
		"not a string":         {"spin_manifest_version = 2\ntrigger = {}\napplication.name = 7", []string{"application.name must be a string"}},
		"not a table":          {"spin_manifest_version = 2\ntrigger = {}\napplication = 7", []string{"application must be a table"}},
		"settings of a number": {none + "application.trigger.http = 7", []string{"application.trigger.http must be a table"}},
		"component of text":    {none + "component.a = \"a.wasm\"", []string{"component.a must be a table"}},
		"name with a mark":     {none + "[component.a_b]\nsource = \"a.wasm\"", []string{"component.a_b", "hyphens"}},
		"name of two cases":    {none + "[component.aB]\nsource = \"a.wasm\"", []string{"component.aB", "hyphens"}},
		"name is a path":       {none + "[component.\"../a\"]\nsource = \"a.wasm\"", []string{"component.../a", "hyphens"}},

		"no source":             {none + "[component.a]\nfiles = []", []string{"component.a.source is missing"}},
		"source is a number":    {none + "[component.a]\nsource = 7", []string{"component.a.source must be"}},
		"source is gone":        {none + "[component.a]\nsource = \"b.wasm\"", []string{"component a", "file b.wasm"}},
		"source is outside":     {none + "[component.a]\nsource = \"../a.wasm\"", []string{"component a", `"../a.wasm" leaves the folder`}},
		"source is absolute":    {none + "[component.a]\nsource = \"/a.wasm\"", []string{`"/a.wasm" leaves the folder`}},
		"source is a link out":  {none + "[component.a]\nsource = \"out\"", []string{"component a", "file out"}},
		"source is no wasm":     {none + "[component.a]\nsource = \"text\"", []string{"component a", "text is no wasm"}},
		"source is a folder":    {none + "[component.a]\nsource = \"dir\"", []string{"component a", "dir"}},
		"source is a package":   {none + "[component.a]\nsource = { registry = \"r\", package = \"a:b\", version = \"1.0.0\" }", []string{"component.a.source", "package registries"}},
		"address of no digest":  {none + "[component.a]\nsource = { url = \"https://localhost/\" }", []string{"component.a.source.digest is missing"}},
		"digest is none":        {none + "[component.a]\nsource = { url = \"https://localhost/\", digest = \"sha256:00\" }", []string{"component a", `"sha256:00"`}},
		"digest is a sha512":    {none + "[component.a]\nsource = { url = \"https://localhost/\", digest = \"sha512:" + strings.Repeat("0", 128) + "\" }", []string{"component a", "is not sha256"}},
		"http away from home":   {none + "[component.a]\nsource = { url = \"http://a.example/\", digest = \"sha256:" + strings.Repeat("0", 64) + "\" }", []string{"http://a.example/", "https", "--http-sources"}},
		"a file as the address": {none + "[component.a]\nsource = { url = \"file:///etc/passwd\", digest = \"sha256:" + strings.Repeat("0", 64) + "\" }", []string{"file:///etc/passwd", "https"}},

		"dependencies":          {component("[component.a.dependencies]\n\"a:b\" = \"1.0.0\""), []string{"component.a.dependencies", "composes"}},
		"hosts as they were":    {component("allowed_http_hosts = [\"x\"]"), []string{"component.a.allowed_http_hosts", "allowed_outbound_hosts"}},
		"host without a scheme": {component("allowed_outbound_hosts = [\"example.com\"]"), []string{"component.a.allowed_outbound_hosts", `"example.com"`, "scheme"}},
		"stores of numbers":     {component("key_value_stores = [1]"), []string{"component.a.key_value_stores must be an array of strings"}},
		"stores of text":        {component("key_value_stores = \"default\""), []string{"component.a.key_value_stores must be an array"}},
		"environment of tables": {component("environment = { A = {} }"), []string{"component.a.environment.A must be a string"}},
		"build of nothing":      {component("[component.a.build]\nworkdir = \"x\""), []string{"component.a.build.command"}},
		"variable in capitals":  {component("[component.a.variables]\nKEY = \"x\""), []string{"component.a.variables.KEY", "lower-case"}},

		"variable of nothing":  {none + "variables.x = {}", []string{"variables.x", "required or have a default"}},
		"variable of both":     {none + "variables.x = { required = true, default = \"\" }", []string{"variables.x", "required or have a default"}},
		"variable of text":     {none + "variables.x = \"y\"", []string{"variables.x must be a table"}},
		"variable of a number": {none + "variables.x.default = 7", []string{"variables.x.default must be a string"}},
		"variable with marks":  {none + "variables.x-y.default = \"\"", []string{"variables.x-y", "underscores"}},

		"trigger of nobody":     {trigger("component = \"b\""), []string{"b-http-trigger", `no component "b"`}},
		"trigger of a number":   {trigger("component = 7"), []string{"trigger.http[0].component"}},
		"trigger of several":    {trigger("components = { x = \"a\" }"), []string{"trigger.http[0].components", "one component only"}},
		"trigger with others":   {trigger("component = \"a\"\ndependencies = {}"), []string{"trigger.http[0].dependencies", "composes"}},
		"trigger with a date":   {trigger("component = \"a\"\nsince = 2026-01-02"), []string{"trigger.http[0].since", "date"}},
		"trigger with a nan":    {trigger("component = \"a\"\nx = [nan]"), []string{"trigger.http[0].x[0]", "NaN"}},
		"trigger that is text":  {head + "trigger.http = [\"a\"]", []string{"trigger.http[0] must be a table"}},
		"triggers that are one": {head + "trigger.http = { component = \"a\" }", []string{"trigger.http must be an array"}},
		"an unnamed's key":      {head + "[[trigger.http]]\ncomponent = { source = \"a.wasm\", fils = [] }", []string{"trigger.http[0].component.fils"}},

		"pattern of nothing":     {component(`files = ["*.png"]`), []string{"component a", `"*.png" matches no file`}},
		"pattern of no folder":   {component(`files = ["none/*"]`), []string{`"none/*" matches no file`, "none is no folder"}},
		"file is gone":           {component(`files = ["none.txt"]`), []string{`"none.txt" does not exist`}},
		"folder as a pattern":    {component(`files = ["dir"]`), []string{`"dir" is a folder`, `"dir/**/*"`}},
		"the folder itself":      {component(`files = ["."]`), []string{`"." is a folder`, `"**/*"`}},
		"pattern outside":        {component(`files = ["dir/../../*"]`), []string{`"dir/../../*" leaves the folder`}},
		"pattern with backslash": {component(`files = ['dir\*']`), []string{"backslash"}},
		"pattern with half **":   {component(`files = ["dir/a**"]`), []string{`"dir/a**"`, "alone"}},
		"pattern ends in **":     {component(`files = ["dir/**"]`), []string{`"dir/**"`, `"dir/**/*"`}},
		"pattern with half [":    {component(`files = ["dir/[a"]`), []string{`"dir/[a"`, "not closed"}},
		"pattern that is empty":  {component(`files = [""]`), []string{"component.a.files[0] is empty"}},
		"pattern is a number":    {component(`files = ["dir/*", 7]`), []string{"component.a.files[1] must be"}},
		"range runs backwards":   {component(`files = ["dir/[z-a]"]`), []string{`"dir/[z-a]"`, "backwards"}},
		"exclude with half [":    {component("files = [\"dir/*\"]\nexclude_files = [\"[\"]"), []string{"not closed"}},
		"link out":               {component(`files = ["out"]`), []string{"component a", "file out", "link out of"}},
		"link out in a pattern":  {component(`files = ["*"]`), []string{"component a", "file out", "link out of"}},
		"link to a folder":       {component(`files = ["links/**/*"]`), []string{"links/todir is a symbolic link to a folder", "exclude"}},
		"place without an end":   {component(`files = [{ source = "dir" }]`), []string{"component.a.files[0].destination is missing"}},
		"place with more":        {component(`files = [{ source = "dir", destination = "/", mode = 1 }]`), []string{"component.a.files[0].mode"}},
		"place of nothing":       {component(`files = [{ source = "none", destination = "/" }]`), []string{`"none" does not exist`}},
		"place of an empty one":  {component(`files = [{ source = "hollow", destination = "/" }]`), []string{`"hollow" matches no file`}},
		"place outside":          {component(`files = [{ source = "dir", destination = "/../x" }]`), []string{`"../x" leaves`}},
		"a file as a folder":     {component(`files = [{ source = "text", destination = "/x/" }]`), []string{`"text" is a file`, `"/x/"`}},
		"a file as the root":     {component(`files = [{ source = "text", destination = "/" }]`), []string{`"text" is a file`, `"/"`}},
		"a file and a folder":    {component(`files = [{ source = "text", destination = "x" }, { source = "dir", destination = "x" }]`), []string{"text", `"x"`, "dir/f"}},
		"a drive":                {component(`files = [{ source = "text", destination = "/c:/x" }]`), []string{"text", "drive"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := folder(t, map[string]string{
				"spin.toml": c.manifest, "a.wasm": wasm("a"), "text": "text", "dir/f": "f", "links/f": "f", "hollow/x/y": "",
			})
			link(t, dir, "../secret", "out")
			link(t, dir, "../dir", "links/todir")
			remove(t, dir, "hollow/x/y")
			_, err := spinpush.Pack(t.Context(), dir, spinpush.Options{})
			if !errors.Is(err, fault.InvalidArgument) {
				t.Fatalf("got %v", err)
			}
			e, _ := errors.AsType[*fault.Error](err)
			for _, want := range append(c.says, "spin.toml: ") {
				if !strings.Contains(err.Error()+"\n"+e.Remedy, want) {
					t.Errorf("%v (%s): does not say %s", err, e.Remedy, want)
				}
			}
		})
	}
}

// TestNames has what triggers and components are called that have no name.
func TestNames(t *testing.T) {
	dir := folder(t, map[string]string{"a.wasm": wasm("a"), "spin.toml": `spin_manifest_version = 2
application.name = "names"
[component.z]
source = "a.wasm"
[component.A-b]
source = "a.wasm"
dependencies_inherit_configuration = true
[component.A-b.profile.debug]
source = "none.wasm"
[[trigger.redis]]
component = "z"
channel = "one"
[[trigger.redis]]
component = "z"
channel = "two"
[[trigger.http]]
component = { source = "a.wasm", allowed_outbound_hosts = ["http://*.spin.internal"] }
route = "/"
[[trigger.http]]
id = "Bad id"
component = { source = "a.wasm" }
[[trigger.http]]
id = "z-http-trigger"
component = "z"
[[trigger.http]]
component = "z"
[[trigger.cron]]
`})
	const source = `"source":{"content_type":"application/wasm","inline":"AGFzbQEAAABh","digest":"{{digest "a.wasm"}}"}`
	want := expand(t, `{"spin_lock_version":1,"must_understand":["component_host_requirements"],"metadata":{"name":"names","triggers":{}},"triggers":[`+
		`{"id":"z-redis-trigger","trigger_type":"redis","trigger_config":{"channel":"one","component":"z"}},`+
		`{"id":"redis-trigger1","trigger_type":"redis","trigger_config":{"channel":"two","component":"z"}},`+
		`{"id":"http-trigger1","trigger_type":"http","trigger_config":{"component":"http-trigger1-component","route":"/"}},`+
		`{"id":"Bad id","trigger_type":"http","trigger_config":{"component":"inline-component1"}},`+
		`{"id":"z-http-trigger","trigger_type":"http","trigger_config":{"component":"z"}},`+
		`{"id":"http-trigger2","trigger_type":"http","trigger_config":{"component":"z"}},`+
		`{"id":"cron-trigger1","trigger_type":"cron","trigger_config":{}}],"components":[`+
		`{"id":"z",`+source+`},{"id":"A-b",`+source+`},`+
		`{"id":"http-trigger1-component","metadata":{"allowed_outbound_hosts":["http://*.spin.internal"]},`+source+`,"host_requirements":{"local_service_chaining":"required"}},`+
		`{"id":"inline-component1",`+source+`}]}`, map[string]string{"a.wasm": wasm("a")})
	p := pack(t, dir, spinpush.Options{})
	if got := p.locked(t); got != want {
		t.Errorf("got\n%s\nnot\n%s", got, want)
	}
	if n := len(p.parsed(t).Layers); n != 2 {
		t.Errorf("%d layers for one wasm and the locked application", n)
	}
}

// TestNumbers has floats as Spin writes them.
func TestNumbers(t *testing.T) {
	dir := folder(t, map[string]string{"spin.toml": head + `trigger.x = [{ n = [1.0, -0.5, 0.00001, 0.000001, 1e15, 1e16, 1.25e-7, 3, 0.0] }]`})
	want := `"n":[1.0,-0.5,0.00001,1e-6,1000000000000000.0,1e16,1.25e-7,3,0.0]`
	if got := pack(t, dir, spinpush.Options{}).locked(t); !strings.Contains(got, want) {
		t.Errorf("%s does not hold %s", got, want)
	}
}
