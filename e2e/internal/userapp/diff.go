package userapp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/pmezard/go-difflib/difflib"
	yamlnode "go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// diff is what settings change in what people have written: in the lines of their file, where it is one that
// lines can be put into, so that git apply takes it; else in the workload as it was read.
func (a *App) diff(settings []setting) (string, error) {
	if raw, err := os.ReadFile(a.source); err == nil {
		if edited, err := a.edit(raw, settings); err == nil {
			return unified(diffName(a.source), string(raw), string(edited))
		}
	}
	before, err := yaml.JSONToYAML(a.raw)
	if err != nil {
		return "", err
	}
	now, err := json.Marshal(set(a.object(), settings))
	if err != nil {
		return "", err
	}
	after, err := yaml.JSONToYAML(now)
	if err != nil {
		return "", err
	}
	return unified(a.Kind+"/"+a.Name, string(before), string(after))
}

func unified(name, before, after string) (string, error) {
	return difflib.GetUnifiedDiffString(difflib.UnifiedDiff{
		A: slices.Collect(strings.Lines(before)), FromFile: "a/" + name,
		B: slices.Collect(strings.Lines(after)), ToFile: "b/" + name, Context: 3,
	})
}

// diffName is a file as git calls it, from the root of its repository; without one, from the folder above its
// own.
func diffName(file string) string {
	for dir := filepath.Dir(file); ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, ".git")); err == nil {
			if name, err := filepath.Rel(dir, file); err == nil {
				return filepath.ToSlash(name)
			}
		}
		if dir == filepath.Dir(dir) {
			return filepath.Base(filepath.Dir(file)) + "/" + filepath.Base(file)
		}
	}
}

// errNoLines is why a file is not edited: it has no line to put another one before.
var errNoLines = errors.New("is not written in lines of YAML")

// insertion is text that comes before a line, or in the place of a part of it.
type insertion struct {
	line, from, to int // from 0; from and to are of what is replaced, both 0 for nothing
	text           string
}

// edit puts settings into the text of a file and leaves every other character as it is.
func (a *App) edit(raw []byte, settings []setting) ([]byte, error) {
	root, err := a.find(raw)
	if err != nil {
		return nil, err
	}
	lines := strings.SplitAfter(string(raw), "\n")
	var all []insertion
	for _, s := range settings {
		i, err := place(root, s, lines)
		if err != nil {
			return nil, err
		}
		all = append(all, i)
	}
	slices.SortStableFunc(all, func(a, b insertion) int { return b.line - a.line }) // from below: lines above stay
	for _, i := range all {
		line := lines[i.line]
		if i.to > 0 {
			lines[i.line] = line[:i.from] + i.text + line[i.to:]
		} else {
			lines[i.line] = i.text + line
		}
	}
	edited := []byte(strings.Join(lines, ""))
	root, err = a.find(edited)
	if err != nil {
		return nil, err
	}
	var now map[string]any
	if err := root.Decode(&now); err != nil {
		return nil, err
	}
	if !a.sameAs(now, settings) {
		return nil, errNoLines
	}
	return edited, nil
}

// sameAs says whether an object, as a file has it, is the workload with the settings.
func (a *App) sameAs(now map[string]any, settings []setting) bool {
	asJSON := func(v any) (out any) {
		raw, err := json.Marshal(v)
		if err == nil {
			err = json.Unmarshal(raw, &out)
		}
		if err != nil {
			return nil
		}
		return out
	}
	o, ok := asJSON(now).(map[string]any)
	if !ok {
		return false
	}
	raw, err := json.Marshal(o)
	if err != nil {
		return false
	}
	u := &unstructured.Unstructured{}
	if u.UnmarshalJSON(raw) != nil {
		return false
	}
	strip(u)
	return reflect.DeepEqual(asJSON(u.Object), asJSON(set(a.object(), settings)))
}

// find is the workload in a file of one or several documents.
func (a *App) find(raw []byte) (*yamlnode.Node, error) {
	decoder := yamlnode.NewDecoder(bytes.NewReader(raw))
	for {
		var document yamlnode.Node
		if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
			return nil, errNoLines
		} else if err != nil {
			return nil, err
		}
		if len(document.Content) != 1 {
			continue
		}
		root := document.Content[0]
		metadata := value(root, "metadata")
		if text(value(root, "kind")) == a.Kind && metadata != nil && text(value(metadata, "name")) == a.Name {
			return root, nil
		}
	}
}

// value is that of a key of a mapping; nil if it has none.
func value(mapping *yamlnode.Node, key string) *yamlnode.Node {
	if mapping == nil || mapping.Kind != yamlnode.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			return mapping.Content[i+1]
		}
	}
	return nil
}

func text(n *yamlnode.Node) string {
	if n == nil {
		return ""
	}
	return n.Value
}

// place is where a setting goes: over the number that is there, or before a key of the innermost mapping that
// is.
func place(root *yamlnode.Node, s setting, lines []string) (insertion, error) {
	at := root
	for i, step := range s.path {
		var next *yamlnode.Node
		if name, isItem := strings.CutPrefix(step, "="); isItem {
			for _, item := range at.Content {
				if text(value(item, "name")) == name {
					next = item
				}
			}
		} else {
			next = value(at, step)
		}
		if next == nil {
			return insertBefore(at, s.path[i:], s.value, lines)
		}
		at = next
	}
	if at.Kind != yamlnode.ScalarNode || at.Style != 0 {
		return insertion{}, errNoLines
	}
	from := at.Column - 1
	if !strings.HasPrefix(lines[at.Line-1][min(from, len(lines[at.Line-1])):], at.Value) {
		return insertion{}, errNoLines
	}
	return insertion{at.Line - 1, from, from + len(at.Value), strconv.FormatInt(s.value, 10)}, nil
}

// insertBefore writes keys that are not there before the first key of a mapping that has a line of its own, and
// before the comment above that.
func insertBefore(mapping *yamlnode.Node, path []string, number int64, lines []string) (insertion, error) {
	if mapping.Kind != yamlnode.MappingNode || mapping.Style&yamlnode.FlowStyle != 0 {
		return insertion{}, errNoLines
	}
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		line, indent := mapping.Content[i].Line-1, mapping.Content[i].Column-1
		if strings.TrimSpace(lines[line][:min(indent, len(lines[line]))]) != "" { // it stands behind the dash of a list
			continue
		}
		for line > 0 && strings.HasPrefix(strings.TrimSpace(lines[line-1]), "#") {
			line--
		}
		var out strings.Builder
		for depth, key := range path {
			out.WriteString(strings.Repeat(" ", indent+2*depth) + key + ":")
			if depth == len(path)-1 {
				fmt.Fprintf(&out, " %d", number)
			}
			out.WriteString("\n")
		}
		return insertion{line: line, text: out.String()}, nil
	}
	return insertion{}, errNoLines
}

// set is an object with settings made.
func set(object map[string]any, settings []setting) map[string]any {
	for _, s := range settings {
		at := object
		for i, step := range s.path[:len(s.path)-1] {
			if strings.HasPrefix(step, "=") {
				continue // by the step before
			}
			if name, isItem := strings.CutPrefix(s.path[i+1], "="); isItem {
				list, _ := at[step].([]any)
				for _, item := range list {
					if item, ok := item.(map[string]any); ok && item["name"] == name {
						at = item
					}
				}
				continue
			}
			next, ok := at[step].(map[string]any)
			if !ok {
				next = map[string]any{}
				at[step] = next
			}
			at = next
		}
		at[s.path[len(s.path)-1]] = s.value
	}
	return object
}
