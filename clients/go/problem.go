package ideo

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/bizmatters/ide-orchestrator/gen/go/ide_orchestrator/v1"
)

// maxRetryAfter is the longest wait that a server may ask for. A hub's own limits count minutes.
const maxRetryAfter = 5 * time.Minute

// Problem is why the hub refused a call.
type Problem struct {
	// Reason is the stable code, such as "not_found"; empty when something before the hub answered.
	Reason string
	// Detail is the reason in words.
	Detail string
	// Code is the status over gRPC, and HTTPStatus over HTTP; the other one is zero.
	Code       codes.Code
	HTTPStatus int
	// Fields says what is wrong with each invalid field.
	Fields map[string]string
	// Metadata belongs to some reasons: "proposal_id"; "floor" and "last_seq".
	Metadata map[string]string
	// TraceID finds the call in the hub's logs.
	TraceID string
	// RetryAfter is when the call may succeed; zero when repeating it does not help by itself.
	RetryAfter time.Duration
	// Moved has the conflicts of draft_moved.
	Moved *pb.DraftMoved
}

func (p *Problem) Error() string {
	if p.Reason == "" {
		return p.Detail
	}
	return p.Reason + ": " + p.Detail
}

// ProblemOf returns why the hub refused a call, given its error; nil for other errors.
func ProblemOf(err error) *Problem {
	var problem *Problem
	if errors.As(err, &problem) {
		return problem
	}
	answer, ok := status.FromError(err)
	if !ok || answer.Code() == codes.OK {
		return nil
	}
	problem = &Problem{Detail: answer.Message(), Code: answer.Code()}
	for _, detail := range answer.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			problem.Reason, problem.Metadata = detail.Reason, detail.Metadata
		case *errdetails.RequestInfo:
			problem.TraceID = detail.RequestId
		case *errdetails.RetryInfo:
			problem.RetryAfter = min(max(detail.RetryDelay.AsDuration(), 0), maxRetryAfter)
		case *errdetails.BadRequest:
			problem.Fields = map[string]string{}
			for _, violation := range detail.FieldViolations {
				problem.Fields[violation.Field] = violation.Description
			}
		case *pb.DraftMoved:
			problem.Moved = detail
		}
	}
	return problem
}

// problemOfAnswer reads the problem document of an HTTP response.
func problemOfAnswer(answer *http.Response) *Problem {
	problem := &Problem{HTTPStatus: answer.StatusCode, Detail: "HTTP " + answer.Status}
	if seconds, err := strconv.ParseUint(answer.Header.Get("Retry-After"), 10, 64); err == nil {
		problem.RetryAfter = time.Duration(min(seconds, uint64(maxRetryAfter/time.Second))) * time.Second
	}
	var document struct {
		Code    string            `json:"code"`
		Detail  string            `json:"detail"`
		TraceID string            `json:"trace_id"`
		Fields  map[string]string `json:"fields"`
		Floor   json.Number       `json:"floor"`
		LastSeq json.Number       `json:"last_seq"`
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<16))
	if err != nil || json.Unmarshal(text, &document) != nil || document.Code == "" {
		return problem
	}
	problem.Reason, problem.Detail = document.Code, document.Detail
	problem.TraceID, problem.Fields = document.TraceID, document.Fields
	if document.LastSeq != "" {
		problem.Metadata = map[string]string{"floor": document.Floor.String(), "last_seq": document.LastSeq.String()}
	}
	return problem
}
