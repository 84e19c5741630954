/* nemo.c - POST /compare, NeMo Gym's generative reward model.
 *
 * Every response is compared with every other. NeMo Gym's judges give each answer of a pair 1 to 5 points and the
 * pair a ranking from 1 (the first is far better) to 6 (the second is); here both follow from the preference, as
 * straight lines. rewards are mean preferences, 0 to 1. */
#include <string.h>
#include "serve/endpoints.h"
#include "serve/reward.h"

/* A string; a message; or an object of OpenAI's Responses API, whose output holds messages: all of their texts are the
 * answer. One that holds none, such as thoughts that came to no end, answers nothing: it is judged as the empty answer,
 * as NeMo Gym's own server has it. */
static int read_response(gr_req *r, json_t *v, const char *name, const char **out, const char **extra)
{
    json_t *output = json_object_get(v, "output"), *m;
    gr_buf text = { 0 };
    size_t k;
    int rc = 0;

    if (!json_is_array(output))
        return gr_read_answer(r, v, name, out, extra);
    json_array_foreach(output, k, m) {
        const char *type = json_string_value(json_object_get(m, "type")), *part = "";
        if (type && strstr(type, "_call"))
            rc = gr_refuse(r, 422, name, "%s calls a tool, which cannot be judged here", name);
        else if (type && !strcmp(type, "message"))
            rc = gr_read_content(r, json_object_get(m, "content"), name, &part);
        if (!rc && !gr_buf_puts(&text, part))
            rc = gr_nomem_req(r);
        if (rc)
            break;
    }
    *out = rc ? NULL : gr_req_strndup(r, text.p ? text.p : "", text.n);
    gr_buf_clear(&text);
    return rc || *out ? rc : r->status;
}

static int answer(gr_req *r)
{
    const gr_rewards *w = r->state;
    json_t *rewards = json_array(), *results = json_array();
    double flips = 0;

    for (size_t i = 0; i < w->n; i++)
        gr_push(&rewards, json_real(w->item[i].reward));
    for (size_t k = 0; k < r->job.n; k++) {
        double p = r->job.verdict[k].preference;
        flips += !r->job.verdict[k].consistent;
        gr_push(&results, json_pack("{s:I, s:I, s:i, s:f, s:f, s:f}", "response_i", (json_int_t)w->who[k].i,
                                    "response_j", (json_int_t)w->who[k].j, "judge_idx", 0, "score_1", 1 + 4 * p,
                                    "score_2", 5 - 4 * p, "ranking", 6 - 5 * p));
    }
    return gr_answer(r, json_pack("{s:o, s:o, s:{s:f}}", "rewards", rewards, "comparison_results", results, "metrics",
                                  "flip_rate", flips / (double)r->job.n));
}

/* The conversation, and the principle as the last word of its system turn. */
static int read_history(gr_req *r, gram_prompt *out)
{
    const char *principle;
    gram_message *turn;
    int rc = gr_read_prompt(r, json_object_get(r->in, "conversation_history"), "conversation_history", out);

    if (!rc)
        rc = gr_read_string(r, "principle", "", &principle);
    if (rc || !principle[0])
        return rc;
    turn = gr_req_alloc(r, out->n + 1, sizeof *turn);
    if (!turn)
        return r->status;
    turn[0] = (gram_message){ .role = "system", .content = principle };
    memcpy(turn + 1, out->turn, out->n * sizeof *turn);
    if (!strcmp(out->turn[0].role, "system")) {
        gr_buf both = { 0 };
        bool ok = gr_buf_printf(&both, "%s\n\n%s", out->turn[0].content, principle);
        turn[1].content = ok ? gr_req_strndup(r, both.p, both.n) : NULL;
        gr_buf_clear(&both);
        if (!turn[1].content)
            return gr_nomem_req(r);
        *out = (gram_prompt){ .turn = turn + 1, .n = out->n, .tools = out->tools };
    } else
        *out = (gram_prompt){ .turn = turn, .n = out->n + 1, .tools = out->tools };
    return 0;
}

int gr_nemo_compare(gr_req *r)
{
    json_t *list = json_object_get(r->in, "response_objs");
    gram_prompt prompt;
    size_t n;
    gr_rewards *w;
    int rc = read_history(r, &prompt);

    if (!rc)
        rc = gr_read_list(r, "response_objs", list, &n);
    if (rc)
        return rc;
    if (n < 2)
        return gr_refuse(r, 422, "response_objs", "a comparison needs two or more responses");
    if (gr_field(r, (const char *[]){ "reference", NULL }))
        return gr_refuse(r, 422, "reference", "reference: here the responses are compared with each other alone");
    w = gr_rewards_new(r, "response_objs", true, n);
    if (!w)
        return r->status;
    w->group_only = true;
    r->if_failed = 503;                     /* what its client asks again after */
    for (size_t i = 0; i < n && !rc; i++) {
        w->item[i].prompt = prompt;
        rc = gr_item_read(r, &w->item[i], read_response(r, json_array_get(list, i), gr_item_name(r, w, i),
                                                        &w->item[i].response, &w->item[i].extra));
    }
    return rc ? rc : gr_rewards_ask(r, w, answer);
}
