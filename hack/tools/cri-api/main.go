// Command cri-api checks that proto/runtime/v1/api.proto is the published container runtime
// interface, whatever its comments say.
//
// It reads a serialized FileDescriptorSet of our file (hack/dump-proto.rs writes one) and compares
// it with the descriptor inside the Go module k8s.io/cri-api, at the version go.mod pins. Each
// difference is a line on standard output, and makes the exit status 1.
package main

import (
	"fmt"
	"os"
	"sort"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	published "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: cri-api FILE_DESCRIPTOR_SET")
		os.Exit(2)
	}
	ours, err := read(os.Args[1])
	if err != nil {
		fmt.Fprintf(os.Stderr, "could not read %s: %v\n", os.Args[1], err)
		os.Exit(2)
	}

	want := describe(published.File_staging_src_k8s_io_cri_api_pkg_apis_runtime_v1_api_proto)
	got := describe(ours)
	if n := compare(want, got); n > 0 {
		fmt.Printf("%d differences from the published interface\n", n)
		os.Exit(1)
	}
	fmt.Printf("the interface is the published one: %s\n", got.summary())
}

// read parses a serialized FileDescriptorSet, which must have exactly one file.
func read(path string) (protoreflect.FileDescriptor, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(data, &set); err != nil {
		return nil, err
	}
	if len(set.File) != 1 {
		return nil, fmt.Errorf("it holds %d files, 1 was expected", len(set.File))
	}
	return protodesc.NewFile(set.File[0], nil)
}

// interfaceFacts maps the full name of each element of a file to its properties that a client or
// server can observe.
type interfaceFacts map[protoreflect.FullName]fact

type fact struct{ kind, text string }

func (f fact) String() string { return strings.TrimSpace(f.kind + " " + f.text) }

func describe(file protoreflect.FileDescriptor) interfaceFacts {
	facts := interfaceFacts{}
	// If the package differs, every other name differs too: this line shows the cause.
	facts["(file)"] = fact{"file", fmt.Sprintf("package %s, %s", file.Package(), file.Syntax())}
	for i := range file.Services().Len() {
		facts.addService(file.Services().Get(i))
	}
	facts.addMessages(file.Messages())
	facts.addEnums(file.Enums())
	return facts
}

func (f interfaceFacts) addService(service protoreflect.ServiceDescriptor) {
	f[service.FullName()] = fact{kind: "service"}
	for i := range service.Methods().Len() {
		m := service.Methods().Get(i)
		f[m.FullName()] = fact{"method", fmt.Sprintf("%s%s -> %s%s",
			stream(m.IsStreamingClient()), m.Input().FullName(), stream(m.IsStreamingServer()), m.Output().FullName())}
	}
}

func stream(yes bool) string {
	if yes {
		return "stream of "
	}
	return ""
}

func (f interfaceFacts) addMessages(messages protoreflect.MessageDescriptors) {
	for i := range messages.Len() {
		m := messages.Get(i)
		kind := "message"
		if m.IsMapEntry() {
			kind = "map entry"
		}
		var reserved []string
		for j := range m.ReservedRanges().Len() {
			r := m.ReservedRanges().Get(j)
			reserved = append(reserved, fmt.Sprintf("%d-%d", r[0], r[1]-1))
		}
		for j := range m.ReservedNames().Len() {
			reserved = append(reserved, string(m.ReservedNames().Get(j)))
		}
		sort.Strings(reserved)
		f[m.FullName()] = fact{kind, fmt.Sprintf("with reserved [%s]", strings.Join(reserved, " "))}

		for j := range m.Fields().Len() {
			field := m.Fields().Get(j)
			f[field.FullName()] = fact{"field", describeField(field)}
		}
		f.addMessages(m.Messages())
		f.addEnums(m.Enums())
	}
}

func describeField(field protoreflect.FieldDescriptor) string {
	text := fmt.Sprintf("number %d, %s %s", field.Number(), field.Cardinality(), field.Kind())
	if m := field.Message(); m != nil {
		text += " " + string(m.FullName())
	}
	if e := field.Enum(); e != nil {
		text += " " + string(e.FullName())
	}
	text += fmt.Sprintf(", json %q", field.JSONName())
	if field.IsMap() {
		text += ", map"
	}
	if field.IsPacked() {
		text += ", packed"
	}
	if field.HasOptionalKeyword() {
		text += ", optional"
	}
	if oneof := field.ContainingOneof(); oneof != nil {
		text += ", in oneof " + string(oneof.FullName())
	}
	options, _ := field.Options().(*descriptorpb.FieldOptions)
	if options.GetDeprecated() {
		text += ", deprecated"
	}
	if options.GetDebugRedact() {
		text += ", debug_redact"
	}
	return text
}

func (f interfaceFacts) addEnums(enums protoreflect.EnumDescriptors) {
	for i := range enums.Len() {
		e := enums.Get(i)
		f[e.FullName()] = fact{kind: "enum"}
		for j := range e.Values().Len() {
			v := e.Values().Get(j)
			// In protobuf the name of an enum value does not include the enum: the prefix shows it.
			f[e.FullName().Append(v.Name())] = fact{"enum value", fmt.Sprintf("= %d", v.Number())}
		}
	}
}

// compare prints each difference and returns their number.
func compare(want, got interfaceFacts) int {
	names := map[protoreflect.FullName]bool{}
	for name := range want {
		names[name] = true
	}
	for name := range got {
		names[name] = true
	}
	sorted := make([]string, 0, len(names))
	for name := range names {
		sorted = append(sorted, string(name))
	}
	sort.Strings(sorted)

	differences := 0
	for _, s := range sorted {
		name := protoreflect.FullName(s)
		w, published := want[name]
		g, here := got[name]
		switch {
		case !here:
			fmt.Printf("%s: missing here; published: %v\n", name, w)
		case !published:
			fmt.Printf("%s: only here: %v\n", name, g)
		case w != g:
			fmt.Printf("%s: here: %v; published: %v\n", name, g, w)
		default:
			continue
		}
		differences++
	}
	return differences
}

// summary counts the elements of f by kind.
func (f interfaceFacts) summary() string {
	counts := map[string]int{}
	for _, fact := range f {
		counts[fact.kind]++
	}
	var parts []string
	for _, kind := range []string{"service", "method", "message", "map entry", "field", "enum", "enum value"} {
		parts = append(parts, fmt.Sprintf("%d %s", counts[kind], plural(kind, counts[kind])))
	}
	return strings.Join(parts, ", ")
}

func plural(kind string, n int) string {
	switch {
	case n == 1:
		return kind
	case strings.HasSuffix(kind, "y"):
		return strings.TrimSuffix(kind, "y") + "ies"
	default:
		return kind + "s"
	}
}
