package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/template"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

//go:embed api.md.tmpl
var apiTemplate string

const protoFile = "blobd/v1/blobd.proto" // below api/proto

// apiPage is what the template of the API's reference is given.
type apiPage struct {
	Services []service
	Shared   []message // what more than one call uses
	Errors   []reasonGroup
}

type service struct {
	Name, Comment string
	Calls         []call
}

type call struct {
	Name, Comment, Signature string
	Messages                 []message // what no other call uses
}

type message struct {
	Name, Comment string
	Fields        []field
}

// Explained reports whether something is said of any field.
func (m message) Explained() bool {
	return slices.ContainsFunc(m.Fields, func(f field) bool { return f.Comment != "" })
}

type field struct {
	Name, Type, Comment string
	Number              int
}

// api is the reference of the API, from the comments of the proto file. It needs protoc.
func api(root string) ([]byte, error) {
	file, err := describe(filepath.Join(root, "api/proto"))
	if err != nil {
		return nil, err
	}
	page, err := apiOf(file)
	if err != nil {
		return nil, err
	}
	if page.Errors, err = reasons(root); err != nil {
		return nil, err
	}
	tmpl, err := template.New("api.md").Funcs(template.FuncMap{"lower": strings.ToLower}).Parse(apiTemplate)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = tmpl.Execute(&out, page)
	return out.Bytes(), err
}

// describe has protoc read the proto file, comments and all.
func describe(folder string) (protoreflect.FileDescriptor, error) {
	out, err := os.CreateTemp("", "blobd-docgen-*.binpb")
	if err != nil {
		return nil, err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	cmd := exec.Command("protoc", "-I", folder, "--include_imports", "--include_source_info",
		"--descriptor_set_out="+out.Name(), protoFile)
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s (Debian: protobuf-compiler): %w", cmd, err)
	}
	b, err := os.ReadFile(out.Name())
	if err != nil {
		return nil, err
	}
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(b, &set); err != nil {
		return nil, err
	}
	files, err := protodesc.NewFiles(&set)
	if err != nil {
		return nil, err
	}
	return files.FindFileByPath(protoFile)
}

// apiOf puts each message below the one call that uses it, or among those that are shared.
func apiOf(file protoreflect.FileDescriptor) (page apiPage, err error) {
	users := map[protoreflect.FullName][]protoreflect.FullName{} // the calls that use a message
	calls := map[protoreflect.FullName][]protoreflect.MessageDescriptor{}
	services := file.Services()
	for i := range services.Len() {
		methods := services.Get(i).Methods()
		for j := range methods.Len() {
			m := methods.Get(j)
			calls[m.FullName()] = used(m)
			for _, message := range calls[m.FullName()] {
				users[message.FullName()] = append(users[message.FullName()], m.FullName())
			}
		}
	}
	if n := file.Enums().Len(); n > 0 {
		return page, fmt.Errorf("%s has %d enums, of which the page says nothing", protoFile, n)
	}
	for i := range services.Len() {
		s := service{Name: string(services.Get(i).Name()), Comment: comment(services.Get(i))}
		methods := services.Get(i).Methods()
		for j := range methods.Len() {
			m := methods.Get(j)
			c := call{Name: string(m.Name()), Comment: comment(m), Signature: signature(m)}
			for _, message := range calls[m.FullName()] {
				if len(users[message.FullName()]) == 1 {
					c.Messages = append(c.Messages, messageOf(message))
				}
			}
			s.Calls = append(s.Calls, c)
		}
		page.Services = append(page.Services, s)
	}
	messages := file.Messages()
	for i := range messages.Len() {
		if m := messages.Get(i); len(users[m.FullName()]) != 1 {
			page.Shared = append(page.Shared, messageOf(m))
		}
	}
	return page, nil
}

// used are the messages of blobd.v1 that a call's request and response consist of: the two, then what is in them.
func used(m protoreflect.MethodDescriptor) []protoreflect.MessageDescriptor {
	found := []protoreflect.MessageDescriptor{m.Input(), m.Output()}
	for i := 0; i < len(found); i++ {
		fields := found[i].Fields()
		for j := range fields.Len() {
			field := fields.Get(j)
			if field.IsMap() {
				field = field.MapValue()
			}
			inner := field.Message()
			if inner != nil && inner.ParentFile() == m.ParentFile() && !slices.Contains(found, inner) {
				found = append(found, inner)
			}
		}
	}
	return found
}

func signature(m protoreflect.MethodDescriptor) string {
	stream := func(is bool) string {
		if is {
			return "stream "
		}
		return ""
	}
	return fmt.Sprintf("%s(%s%s) → %s%s", m.Name(), stream(m.IsStreamingClient()), m.Input().Name(),
		stream(m.IsStreamingServer()), m.Output().Name())
}

func messageOf(m protoreflect.MessageDescriptor) message {
	out := message{Name: string(m.Name()), Comment: comment(m)}
	fields := m.Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		out.Fields = append(out.Fields, field{
			Name: string(f.Name()), Number: int(f.Number()), Type: typeOf(f), Comment: strings.ReplaceAll(comment(f), "|", `\|`),
		})
	}
	return out
}

// typeOf is a field's type, with a link where it is a message of this page.
func typeOf(f protoreflect.FieldDescriptor) string {
	if f.IsMap() {
		return fmt.Sprintf("map from %s to %s", typeOf(f.MapKey()), typeOf(f.MapValue()))
	}
	name := f.Kind().String()
	if m := f.Message(); m != nil {
		name = string(m.Name())
		if m.ParentFile() == f.ParentFile() {
			name = fmt.Sprintf("[%s](#message-%s)", name, strings.ToLower(name))
		}
	}
	switch {
	case f.IsList():
		return "list of " + name
	case f.HasOptionalKeyword():
		return name + ", or absent"
	case f.ContainingOneof() != nil:
		return fmt.Sprintf("%s, one of %s", name, f.ContainingOneof().Name())
	}
	return name
}

// comment is what stands above a thing in the proto file, as one line.
func comment(d protoreflect.Descriptor) string {
	return strings.Join(strings.Fields(d.ParentFile().SourceLocations().ByDescriptor(d).LeadingComments), " ")
}
