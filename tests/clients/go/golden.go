// Reads every golden event of a folder: binary and JSON must be the same message, and be written back unchanged.
// Prints what is wrong.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	pb "github.com/bizmatters/ide-orchestrator/gen/go/ide_orchestrator/v1"
)

var bad = 0

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func expect(good bool, name, what string) {
	if !good {
		bad++
		fmt.Printf("%s: %s\n", filepath.Base(name), what)
	}
}

// plain is the value of a JSON text.
func plain(text []byte) (value any) {
	if err := json.Unmarshal(text, &value); err != nil {
		log.Fatal(err)
	}
	return value
}

func main() {
	names := must(filepath.Glob(filepath.Join(os.Args[1], "*.json")))
	for _, name := range names {
		text := must(os.ReadFile(name))
		data := must(os.ReadFile(strings.TrimSuffix(name, "json") + "binpb"))
		var event, fromJSON, again pb.Event
		expect(proto.Unmarshal(data, &event) == nil, name, "cannot be read")
		expect(event.Kind != nil, name, "has no kind")
		expect(len(event.ProtoReflect().GetUnknown()) == 0, name, "has unknown fields")
		expect(protojson.Unmarshal(text, &fromJSON) == nil, name, "its JSON cannot be read")
		expect(proto.Equal(&event, &fromJSON), name, "binary and JSON differ")
		written := must(protojson.MarshalOptions{UseProtoNames: true}.Marshal(&event))
		expect(reflect.DeepEqual(plain(written), plain(text)), name, "other JSON")
		expect(proto.Unmarshal(must(proto.Marshal(&event)), &again) == nil, name, "its own bytes cannot be read")
		expect(proto.Equal(&event, &again), name, "does not survive its own bytes")
	}
	fmt.Printf("%d events, %d bad\n", len(names), bad)
}
