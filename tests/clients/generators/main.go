// What oapi-codegen made of the document, in `evp`: sent with, listed, leased and acknowledged.
package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"

	"github.com/oapi-codegen/runtime/types"

	"generators/evp"
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func shown(value bool) string {
	if value {
		return "True"
	}
	return "False"
}

func main() {
	ctx := context.Background()
	authorized := evp.WithRequestEditorFn(func(_ context.Context, request *http.Request) error {
		request.Header.Set("Authorization", "Bearer "+os.Args[2])
		return nil
	})
	client := must(evp.NewClientWithResponses(os.Args[1], authorized))
	var wanted evp.CreateSubscriptionJSONRequestBody
	if err := wanted.FromNewInbox(evp.NewInbox{Name: "ledger"}); err != nil {
		panic(err)
	}
	fmt.Println(must(client.CreateSubscriptionWithResponse(ctx, nil, wanted)).JSON201.Status)
	invoice := evp.NewEvent{Type: "invoice.paid", Data: map[string]any{"amount": 12900}}
	sent := must(client.SendEventWithResponse(ctx, nil, invoice)).JSON202
	refused := must(client.SendEventWithResponse(ctx, nil, evp.NewEvent{Type: "not a type"}))
	fmt.Println((*refused.ApplicationproblemJSON422.Errors)[0].Pointer)
	pattern, inbox, most := "invoice.*", "ledger", 10
	page := must(client.ListEventsWithResponse(ctx, &evp.ListEventsParams{Type: &pattern})).JSON200
	fmt.Println(shown(page.Data[0].Id == sent.Id), shown(page.NextCursor == nil))
	fmt.Println("processed, please")
	must(bufio.NewReader(os.Stdin).ReadString('\n'))
	body := evp.LeaseRequest{Max: &most}
	lease := must(client.LeaseEventsWithResponse(ctx, &evp.LeaseEventsParams{Inbox: &inbox}, body)).JSON200
	data := lease.Events[0].Data.(map[string]any)
	fmt.Println(shown(lease.Events[0].Id == sent.Id), data["amount"])
	ids := evp.Ack{EventIds: []types.UUID{sent.Id}}
	fmt.Println(len(must(client.AckEventsWithResponse(ctx, &evp.AckEventsParams{Inbox: &inbox}, ids)).JSON200.Acknowledged))
	fmt.Println(len(must(client.GetEventWithResponse(ctx, sent.Id, nil)).JSON200.Deliveries))
}
