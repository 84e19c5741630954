/* llamafactory.c - POST /v1/score/evaluation: {"messages": [text of a conversation]} -> {"scores": [..]}.
 *
 * A text is what the checkpoint's chat template made; lists of messages are taken too. */
#include "serve/endpoints.h"
#include "serve/reward.h"

static int answer(gr_req *r)
{
    const gr_rewards *w = r->state;
    json_t *scores = json_array();

    for (size_t i = 0; i < w->n; i++)
        gr_push(&scores, json_real(gr_item_trainer(&w->item[i])));
    return gr_answer(r, json_pack("{s:s, s:s, s:s, s:o}", "id", r->id, "object", "score.evaluation",
                                  "model", gr_model_name(r), "scores", scores));
}

int gr_llamafactory(gr_req *r)
{
    json_t *list = json_object_get(r->in, "messages");
    size_t n;
    gr_rewards *w;
    int rc = gr_read_list(r, "messages", list, &n);

    if (rc)
        return rc;
    w = gr_rewards_new(r, "messages", true, n);
    if (!w)
        return r->status;
    for (size_t i = 0; i < n && !rc; i++)
        rc = gr_item_conversation(r, w, i, json_array_get(list, i));
    if (!rc)
        rc = gr_rewards_references(r, w);
    return rc ? rc : gr_rewards_ask(r, w, answer);
}
