// Makes the calls of the corpus with the client and with net/http: reads a call from each line, prints its outcome.
// calls HTTP_ADDRESS GRPC_ADDRESS
package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"reflect"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	ideo "github.com/bizmatters/ide-orchestrator/clients/go"
)

type call struct {
	Over, Token, Method, Path, Body string
	Headers                         map[string]string
	Message                         json.RawMessage
}

type outcome = map[string]any

var clients = map[string]*ideo.Client{}

func overHTTP(call call) (outcome, error) {
	request, err := http.NewRequest(call.Method, os.Args[1]+call.Path, strings.NewReader(call.Body))
	if err != nil {
		return nil, err
	}
	for name, value := range call.Headers {
		request.Header.Set(name, value)
	}
	if call.Token != "" {
		request.Header.Set("Authorization", "Bearer "+call.Token)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	headers := map[string]string{}
	for _, name := range []string{"Content-Type", "Idempotency-Replayed"} {
		if value := answer.Header.Get(name); value != "" {
			headers[name] = value
		}
	}
	return outcome{"status": answer.StatusCode, "headers": headers, "body": string(body)}, err
}

// clientOf is the client of a token.
func clientOf(token string) (*ideo.Client, error) {
	if client := clients[token]; client != nil {
		return client, nil
	}
	options := ideo.Options{Plaintext: true}
	if token != "" {
		options.Token = ideo.StaticToken(token)
	}
	client, err := ideo.New(os.Args[2], options)
	clients[token] = client
	return client, err
}

// methodOf is the method of the client's stubs that has the name. No two services have methods of one name.
func methodOf(client *ideo.Client, name string) (reflect.Value, error) {
	fields := reflect.ValueOf(client).Elem()
	for i := range fields.NumField() {
		if fields.Type().Field(i).IsExported() {
			if method := fields.Field(i).MethodByName(name); method.IsValid() {
				return method, nil
			}
		}
	}
	return reflect.Value{}, fmt.Errorf("no stub has the method %s", name)
}

func overGRPC(call call) (outcome, error) {
	client, err := clientOf(call.Token)
	if err != nil {
		return nil, err
	}
	method, err := methodOf(client, call.Method[strings.LastIndex(call.Method, "/")+1:])
	if err != nil {
		return nil, err
	}
	request := reflect.New(method.Type().In(1).Elem())
	if err := protojson.Unmarshal(call.Message, request.Interface().(proto.Message)); err != nil {
		return nil, err
	}
	results := method.Call([]reflect.Value{reflect.ValueOf(context.Background()), request})
	if failed, ok := results[1].Interface().(error); ok {
		return refusal(failed)
	}
	answer, err := protojson.Marshal(results[0].Interface().(proto.Message))
	return outcome{"message": json.RawMessage(answer)}, err
}

// refusal is what the client says of an error, in the form of Connect.
func refusal(err error) (outcome, error) {
	problem := ideo.ProblemOf(err)
	if problem == nil {
		return nil, err
	}
	wrong := &errdetails.BadRequest{}
	for field, text := range problem.Fields {
		violation := &errdetails.BadRequest_FieldViolation{Field: field, Description: text}
		wrong.FieldViolations = append(wrong.FieldViolations, violation)
	}
	var details []outcome
	for _, detail := range []proto.Message{
		&errdetails.ErrorInfo{Reason: problem.Reason, Domain: "ide-orchestrator"},
		&errdetails.RequestInfo{RequestId: problem.TraceID},
		wrong,
	} {
		value, err := proto.Marshal(detail)
		if err != nil {
			return nil, err
		}
		name := string(detail.ProtoReflect().Descriptor().FullName())
		details = append(details, outcome{"type": name, "value": base64.RawStdEncoding.EncodeToString(value)})
	}
	name := strings.ToLower(code.Code(problem.Code).String())
	return outcome{"error": outcome{"code": name, "message": problem.Detail, "details": details}}, nil
}

func main() {
	lines, answers := bufio.NewReader(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return
		}
		var call call
		if err := errors.Join(err, json.Unmarshal(line, &call)); err != nil {
			log.Fatal(err)
		}
		make := overGRPC
		if call.Over == "rest" {
			make = overHTTP
		}
		found, err := make(call)
		if err != nil {
			found = outcome{"failure": err.Error()}
		}
		if err := answers.Encode(found); err != nil {
			log.Fatal(err)
		}
	}
}
