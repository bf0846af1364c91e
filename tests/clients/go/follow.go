// Follows a refinement as WAY says, prints the seq and the kind of each event, and then the digest of all of them.
package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log"
	"os"

	"google.golang.org/protobuf/proto"

	ideo "github.com/bizmatters/ide-orchestrator/clients/go"
)

func main() {
	client, err := ideo.New(os.Getenv("IDEO_GRPC"), ideo.Options{
		Token:     ideo.StaticToken(os.Getenv("IDEO_TOKEN")),
		HTTP:      os.Getenv("IDEO_URL"),
		Plaintext: true,
	})
	if err != nil {
		log.Fatal(err)
	}
	digest := sha256.New()
	options := ideo.FollowOptions{WebSocket: os.Getenv("WAY") == "websocket"}
	for event, err := range client.Follow(context.Background(), os.Getenv("THREAD"), options) {
		if err != nil {
			log.Fatal(err)
		}
		data, err := proto.MarshalOptions{Deterministic: true}.Marshal(event)
		if err != nil {
			log.Fatal(err)
		}
		digest.Write(data)
		fmt.Printf("%d %T\n", event.Seq, event.Kind)
	}
	fmt.Printf("sha256 %x\n", digest.Sum(nil))
}
