package ideo

import (
	"context"
	"errors"
	"iter"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	pb "github.com/bizmatters/ide-orchestrator/gen/go/ide_orchestrator/v1"
)

// ListWorkflows yields the workflows of all pages, newest first. An error is the last thing that it yields.
func (c *Client) ListWorkflows(ctx context.Context, request *pb.ListWorkflowsRequest) iter.Seq2[*pb.Workflow, error] {
	return items(ctx, request, c.Workflows.ListWorkflows, (*pb.ListWorkflowsResponse).GetWorkflows)
}

// ListProposals yields the proposals of all pages, newest first.
func (c *Client) ListProposals(ctx context.Context, request *pb.ListProposalsRequest) iter.Seq2[*pb.Proposal, error] {
	return items(ctx, request, c.Proposals.ListProposals, (*pb.ListProposalsResponse).GetProposals)
}

// ListDraftVersions yields the versions of all pages, newest first.
func (c *Client) ListDraftVersions(ctx context.Context, request *pb.ListDraftVersionsRequest) iter.Seq2[*pb.Draft, error] {
	return items(ctx, request, c.Drafts.ListDraftVersions, (*pb.ListDraftVersionsResponse).GetDrafts)
}

// DiffProposal yields the files that differ, of all pages, in path order.
func (c *Client) DiffProposal(ctx context.Context, request *pb.DiffProposalRequest) iter.Seq2[*pb.FileDiff, error] {
	return items(ctx, request, c.Reviews.DiffProposal, (*pb.DiffProposalResponse).GetFiles)
}

// DiffDraft yields the files that differ between two versions, of all pages, in path order.
func (c *Client) DiffDraft(ctx context.Context, request *pb.DiffDraftRequest) iter.Seq2[*pb.FileDiff, error] {
	return items(ctx, request, c.Reviews.DiffDraft, (*pb.DiffDraftResponse).GetFiles)
}

// maxEmptyPages may come in a row. A hub sends none without items but the last one.
const maxEmptyPages = 100

type paged interface{ GetNextPageToken() string }

// items calls a list page by page: each is read when the items of the one before have been used.
func items[Request proto.Message, Response paged, Item any](
	ctx context.Context,
	request Request,
	call func(context.Context, Request, ...grpc.CallOption) (Response, error),
	of func(Response) []Item,
) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		next := proto.CloneOf(request)
		fields := next.ProtoReflect()
		token := fields.Descriptor().Fields().ByName("page_token")
		seen, empty := map[string]bool{}, 0
		for {
			page, err := call(ctx, next)
			if err != nil {
				var none Item
				yield(none, err)
				return
			}
			for _, item := range of(page) {
				if !yield(item, nil) {
					return
				}
			}
			given := page.GetNextPageToken()
			if given == "" {
				return
			}
			if empty++; len(of(page)) > 0 {
				empty = 0
			}
			if seen[given] || empty > maxEmptyPages {
				var none Item
				yield(none, errors.New("ideo: the server does not answer as a hub does: its list does not end"))
				return
			}
			seen[given] = true
			fields.Set(token, protoreflect.ValueOfString(given))
		}
	}
}
