package ideo

import (
	"context"
	"crypto/rand"
	"encoding/json"
	mathrand "math/rand/v2"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	pb "github.com/bizmatters/ide-orchestrator/gen/go/ide_orchestrator/v1"
)

const (
	firstPause   = 250 * time.Millisecond
	longestPause = 10 * time.Second
	// Pings find out within 30 s that the hub or the network is gone.
	pingEvery   = 20 * time.Second
	pingTimeout = 10 * time.Second

	requestIDField = "request_id"
)

var files = []protoreflect.FileDescriptor{
	pb.File_ide_orchestrator_v1_access_proto, pb.File_ide_orchestrator_v1_draft_proto,
	pb.File_ide_orchestrator_v1_info_proto, pb.File_ide_orchestrator_v1_proposal_proto,
	pb.File_ide_orchestrator_v1_quarantine_proto,
	pb.File_ide_orchestrator_v1_refinement_proto, pb.File_ide_orchestrator_v1_review_proto,
	pb.File_ide_orchestrator_v1_user_proto, pb.File_ide_orchestrator_v1_webhook_proto,
	pb.File_ide_orchestrator_v1_workflow_proto,
}

// retryPolicy is the service config that repeats what may be repeated: reads, and calls with a request_id.
func retryPolicy() string {
	type name struct {
		Service string `json:"service"`
		Method  string `json:"method"`
	}
	var names []name
	for _, file := range files {
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			for j := range service.Methods().Len() {
				if method := service.Methods().Get(j); repeatable(method) {
					names = append(names, name{string(service.FullName()), string(method.Name())})
				}
			}
		}
	}
	config, err := json.Marshal(map[string]any{"methodConfig": []any{map[string]any{
		"name": names,
		"retryPolicy": map[string]any{
			"maxAttempts":          5,
			"initialBackoff":       "0.25s",
			"maxBackoff":           "10s",
			"backoffMultiplier":    2,
			"retryableStatusCodes": []string{"UNAVAILABLE"},
		},
	}}})
	if err != nil {
		panic(err) // it has texts and numbers only
	}
	return string(config)
}

func repeatable(method protoreflect.MethodDescriptor) bool {
	if method.IsStreamingServer() {
		return false // Follow and ReadEvent go on from where they were
	}
	for _, verb := range []string{"Get", "List", "Find", "Diff", "Blame"} {
		if strings.HasPrefix(string(method.Name()), verb) {
			return true
		}
	}
	return method.Input().Fields().ByName(requestIDField) != nil
}

// fillRequestID gives a request without a request_id one, before it is sent for the first time.
func fillRequestID(ctx context.Context, method string, request, reply any, connection *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
	if message, ok := request.(proto.Message); ok {
		field := message.ProtoReflect().Descriptor().Fields().ByName(requestIDField)
		if field != nil && !message.ProtoReflect().Has(field) {
			message = proto.Clone(message)
			message.ProtoReflect().Set(field, protoreflect.ValueOfString(rand.Text()))
			request = message
		}
	}
	return invoke(ctx, method, request, reply, connection, options...)
}

// renewToken makes a call again when its token was refused: Options.Token may have a new one by now.
func renewToken(ctx context.Context, method string, request, reply any, connection *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
	err := invoke(ctx, method, request, reply, connection, options...)
	if status.Code(err) == codes.Unauthenticated {
		return invoke(ctx, method, request, reply, connection, options...)
	}
	return err
}

// pause waits before another attempt, longer after each, with full jitter: clients that lost one hub do not come
// back together. It returns early when the context ends.
func pause(ctx context.Context, attempt int, atLeast time.Duration) {
	longest := min(firstPause<<min(attempt, 10), longestPause)
	timer := time.NewTimer(atLeast + mathrand.N(longest))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
