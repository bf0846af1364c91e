// Events over grpc-go, one in each message. `grpcserve FILE` reads the events of a run from the file, serves them on a
// free port to all who watch, and prints its address.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"

	pb "github.com/bizmatters/ide-orchestrator/gen/go/ide_orchestrator/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protodelim"
)

type server struct {
	pb.UnimplementedRefinementServiceServer
	messages []*pb.WatchRefinementResponse
}

func (s *server) WatchRefinement(_ *pb.WatchRefinementRequest, stream grpc.ServerStreamingServer[pb.WatchRefinementResponse]) error {
	for _, message := range s.messages {
		if err := stream.Send(message); err != nil {
			return err
		}
	}
	return nil
}

func (s *server) GetRefinement(_ context.Context, request *pb.GetRefinementRequest) (*pb.GetRefinementResponse, error) {
	return &pb.GetRefinementResponse{Refinement: &pb.Refinement{ThreadId: request.ThreadId}}, nil
}

func read(path string) (messages []*pb.WatchRefinementResponse, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	from := bufio.NewReader(file)
	for {
		message := &pb.WatchRefinementResponse{}
		if err := protodelim.UnmarshalFrom(from, message); errors.Is(err, io.EOF) {
			return messages, nil
		} else if err != nil {
			return nil, err
		}
		messages = append(messages, message)
	}
}

func main() {
	messages, err := read(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	serving := grpc.NewServer()
	pb.RegisterRefinementServiceServer(serving, &server{messages: messages})
	fmt.Printf("peer %s\n", listener.Addr())
	log.Fatal(serving.Serve(listener))
}
