// What the Go client does, case by case: `cases NAME` exits with 0 when it is right.
package main

import (
	"context"
	"errors"
	"iter"
	"log"
	"os"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"

	ideo "github.com/bizmatters/ide-orchestrator/clients/go"
	pb "github.com/bizmatters/ide-orchestrator/gen/go/ide_orchestrator/v1"
)

const absent = "00000000-0000-4000-8000-000000000000"

var (
	ctx       = context.Background()
	thread    = os.Getenv("THREAD")
	hub       = open(os.Getenv("IDEO_TOKEN"))
	transport = []ideo.FollowOptions{{}, {WebSocket: true}}
)

func open(token string) *ideo.Client {
	return must(ideo.New(os.Getenv("IDEO_GRPC"), ideo.Options{
		Token: ideo.StaticToken(token), HTTP: os.Getenv("IDEO_URL"), Plaintext: true,
	}))
}

func must[T any](value T, err error) T {
	check(err == nil, "%v", err)
	return value
}

func check(right bool, message string, values ...any) {
	if !right {
		log.Output(2, "wrong")
		log.Fatalf(message, values...)
	}
}

// collect gives all items, and the error that ended them.
func collect[T any](items iter.Seq2[T, error]) (found []T, err error) {
	for item, failed := range items {
		if failed != nil {
			return found, failed
		}
		found = append(found, item)
	}
	return found, nil
}

func start(prompt string) *pb.Refinement {
	workflow := must(hub.Workflows.CreateWorkflow(ctx, &pb.CreateWorkflowRequest{Name: "demo"})).Workflow
	request := &pb.StartRefinementRequest{WorkflowId: workflow.Id, UserPrompt: prompt}
	started := must(hub.Refinements.StartRefinement(ctx, request)).Refinement
	check(request.RequestId == "", "the caller's request was changed")
	return started
}

var cases = map[string]func(){
	"refusals are problems": func() {
		_, err := hub.Workflows.GetWorkflow(ctx, &pb.GetWorkflowRequest{WorkflowId: absent})
		problem := ideo.ProblemOf(err)
		check(problem.Reason == "not_found" && problem.Code == codes.NotFound && problem.TraceID != "", "%+v", problem)
		_, err = hub.Workflows.CreateWorkflow(ctx, &pb.CreateWorkflowRequest{})
		check(ideo.ProblemOf(err).Fields["name"] != "", "%+v", err)
		check(ideo.ProblemOf(errors.New("x")) == nil, "an error of another kind is a problem")
	},
	"a stream that is refused says why, on every transport": func() {
		run := start("[[replay:short_run]]")
		must(collect(hub.Follow(ctx, run.ThreadId, ideo.FollowOptions{})))
		for _, options := range transport {
			_, err := collect(hub.Follow(ctx, absent, options))
			check(ideo.ProblemOf(err) != nil && slices.Contains([]string{"not_found", "permission_denied"}, ideo.ProblemOf(err).Reason), "%v", err)
			_, err = collect(open("no").Follow(ctx, run.ThreadId, options))
			check(ideo.ProblemOf(err) != nil && ideo.ProblemOf(err).Reason == "unauthenticated", "%v", err)
			options.After = 99
			_, err = collect(hub.Follow(ctx, run.ThreadId, options))
			problem := ideo.ProblemOf(err)
			check(problem != nil && problem.Reason == "cursor_out_of_range" && problem.Metadata["last_seq"] == "52", "%+v", err)
			options.After = 50
			check(len(must(collect(hub.Follow(ctx, run.ThreadId, options)))) == 2, "not the two last events")
			options.After = 52
			check(len(must(collect(hub.Follow(ctx, run.ThreadId, options)))) == 0, "events after the last one")
		}
	},
	"a share link follows from its own cursor, on every transport": func() {
		run := start("[[replay:short_run]]")
		must(collect(hub.Follow(ctx, run.ThreadId, ideo.FollowOptions{})))
		request := &pb.CreateShareLinkRequest{ProposalId: run.ProposalId, AfterSeq: 10}
		link := must(hub.Access.CreateShareLink(ctx, request))
		for _, options := range transport {
			events := must(collect(open(link.ShareLink.GetSecret()).Follow(ctx, run.ThreadId, options)))
			check(len(events) == 42 && events[0].Seq == 11, "%d events", len(events))
		}
	},
	"a question of the agent is answered while its run is followed": func() {
		run := start("[[replay:approval]]")
		reply := func(seq uint32, decision string) error {
			_, err := hub.Refinements.ReplyToInput(ctx, &pb.ReplyToInputRequest{
				ThreadId: run.ThreadId, Seq: seq, Decisions: []*pb.ActionDecision{{Decision: decision}},
			})
			return err
		}
		var seqs []uint32
		var decided []string
		for event, err := range hub.Follow(ctx, run.ThreadId, ideo.FollowOptions{}) {
			decided = append(decided, must(event, err).GetInputAnswered().GetDecisions()...)
			if event.GetInputRequested() != nil {
				err := reply(event.Seq, []string{"approve", "reject"}[len(seqs)])
				check(err == nil, "%v", err)
				seqs = append(seqs, event.Seq)
			}
		}
		check(slices.Equal(decided, []string{"approve", "reject"}), "%v", decided)
		problem := ideo.ProblemOf(reply(seqs[0], "approve"))
		check(problem != nil && problem.Reason == "input_closed", "%+v", problem)
	},
	"a stream ends with its context, and with the loop": func() {
		run := start("[[replay:short_run silent=9]]")
		for _, options := range transport {
			for event := range hub.Follow(ctx, run.ThreadId, options) {
				if event.Seq == 5 {
					break
				}
			}
			short, cancel := context.WithCancel(ctx)
			time.AfterFunc(time.Second, cancel)
			_, err := collect(hub.Follow(short, run.ThreadId, options))
			check(errors.Is(err, context.Canceled), "%v", err)
		}
		must(hub.Refinements.CancelRefinement(ctx, &pb.CancelRefinementRequest{ThreadId: run.ThreadId}))
	},
	"large answers are read with the limits that clients have by default": func() {
		for _, options := range transport {
			for _, event := range must(collect(hub.Follow(ctx, thread, options))) {
				for _, file := range event.GetStateUpdate().GetFiles() {
					check(len(file.GetText()) == 6_000_000, "%d bytes", len(file.GetText()))
				}
			}
		}
		partial := must(collect(hub.Follow(ctx, thread, ideo.FollowOptions{Partial: true})))
		check(slices.ContainsFunc(partial, func(event *pb.Event) bool { return event.OmittedBytes > 0 }), "all are whole")
		definition := must(structpb.NewStruct(map[string]any{"text": strings.Repeat("x", 250_000)}))
		for range 20 {
			must(hub.Workflows.CreateWorkflow(ctx, &pb.CreateWorkflowRequest{Name: "large", AgentDefinition: definition}))
		}
		check(len(must(collect(hub.ListWorkflows(ctx, &pb.ListWorkflowsRequest{})))) == 21, "not 21 workflows")
		check(len(must(collect(hub.ListWorkflows(ctx, &pb.ListWorkflowsRequest{PageSize: 2})))) == 21, "not 21 workflows")
		workflow := must(hub.Workflows.CreateWorkflow(ctx, &pb.CreateWorkflowRequest{Name: "prompts"})).Workflow
		for range 25 {
			must(hub.Refinements.StartRefinement(ctx, &pb.StartRefinementRequest{
				WorkflowId: workflow.Id, UserPrompt: strings.Repeat("€", 65_000),
			}))
		}
		listed := must(collect(hub.ListProposals(ctx, &pb.ListProposalsRequest{WorkflowId: workflow.Id})))
		check(len(listed) == 25 && len(listed[0].UserPrompt) == 195_000, "%d proposals", len(listed))
	},
}

func main() {
	cases[os.Args[1]]()
}
