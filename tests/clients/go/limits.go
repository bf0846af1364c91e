// The wrong fields of requests: reads a file with a type and its bytes in base64 on each line, prints a JSON array for each.
package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	ideo "github.com/bizmatters/ide-orchestrator/clients/go"
)

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func main() {
	text := string(must(os.ReadFile(os.Args[1])))
	for _, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		name, encoded, _ := strings.Cut(line, " ")
		kind := must(protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName("ide_orchestrator.v1." + name)))
		request := kind.New().Interface()
		if err := proto.Unmarshal(must(base64.StdEncoding.DecodeString(encoded)), request); err != nil {
			log.Fatal(err)
		}
		wrong := ideo.WrongFields(request)
		if wrong == nil {
			wrong = []string{}
		}
		fmt.Println(string(must(json.Marshal(wrong))))
	}
}
