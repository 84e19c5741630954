/* chattext.c - see chattext.h. Each family is a row of marks; one scan serves all rows. */
#include <string.h>
#include "serve/chattext.h"

/* A turn is: open, its role, header_end, its content, close. */
static const struct family { const char *open, *header_end, *close; } family[] = {
    { "<|im_start|>", "\n", "<|im_end|>" },                                         /* ChatML, Qwen, SmolLM */
    { "<|start_header_id|>", "<|end_header_id|>\n\n", "<|eot_id|>" },               /* Llama 3 */
    { "<start_of_turn>", "\n", "<end_of_turn>" },                                   /* Gemma */
};

/* A turn is: the mark of its role, then its content up to the next mark. */
static const struct marked { const char *user, *assistant; } marked[] = {
    { "\n\nHuman:", "\n\nAssistant:" },                                             /* HH transcripts */
    { "[INST]", "[/INST]" },                                                        /* Llama 2, Mistral */
};

void gr_chattext_strip(char *answer)
{
    static const char *const end[] = { "<|im_end|>", "<|eot_id|>", "<|endoftext|>", "<|end_of_text|>", "</s>",
                                       "<end_of_turn>", "<eos>", "<pad>", "<|finetune_right_pad_id|>" };
    size_t n = strlen(answer);
    bool again = true;

    while (again) {
        size_t bare = n;                    /* white space goes only where a special token stands before it */
        again = false;
        while (bare > 0 && strchr(" \n", answer[bare - 1]))
            bare--;
        for (size_t i = 0; i < GR_COUNT(end) && !again; i++) {
            size_t len = strlen(end[i]);
            again = bare >= len && !memcmp(answer + bare - len, end[i], len);
            if (again)
                n = bare - len;
        }
    }
    answer[n] = '\0';
}

static const char *role_name(const char *p, size_t n)
{
    static const struct { const char *text, *role; } known[] = {
        { "system", "system" }, { "user", "user" }, { "assistant", "assistant" }, { "model", "assistant" },
    };

    for (size_t i = 0; i < GR_COUNT(known); i++)
        if (strlen(known[i].text) == n && !memcmp(known[i].text, p, n))
            return known[i].role;
    return NULL;
}

static size_t count(const char *text, const char *mark)
{
    size_t n = 0;

    for (const char *p = text; (p = strstr(p, mark)); p += strlen(mark))
        n++;
    return n;
}

static void read_family(const struct family *f, char *text, gram_message *turn, size_t *n)
{
    char *p = text;

    *n = 0;
    while ((p = strstr(p, f->open))) {
        char *role = p + strlen(f->open), *header = strstr(role, f->header_end), *close;
        const char *name = header ? role_name(role, (size_t)(header - role)) : NULL;
        if (!name) {                        /* a tool's turn, or no template at all: better unread than half read */
            *n = 0;
            return;
        }
        p = header + strlen(f->header_end);
        turn[*n] = (gram_message){ .role = name, .content = p };
        ++*n;
        close = strstr(p, f->close);
        if (!close)
            break;
        *close = '\0';
        p = close + strlen(f->close);
    }
}

/* Where the next marks are, so that no stretch of text is searched twice. */
struct scan { const struct marked *m; char *user, *assistant; };

static char *next_mark(struct scan *s, char *p, bool *user)
{
    if (s->user && s->user < p)
        s->user = strstr(p, s->m->user);
    if (s->assistant && s->assistant < p)
        s->assistant = strstr(p, s->m->assistant);
    *user = s->user && (!s->assistant || s->user < s->assistant);
    return *user ? s->user : s->assistant;
}

static void read_marked(const struct marked *m, char *text, gram_message *turn, size_t *n)
{
    struct scan scan = { m, strstr(text, m->user), strstr(text, m->assistant) };
    bool user, next_user;
    char *p = next_mark(&scan, text, &user);

    *n = 0;
    while (p) {
        char *content = p + strlen(user ? m->user : m->assistant), *next = next_mark(&scan, content, &next_user);
        content += *content == ' ';
        turn[*n] = (gram_message){ .role = user ? "user" : "assistant", .content = content };
        ++*n;
        if (next) {
            if (next > content && next[-1] == ' ' && m->user[0] == '[')
                next[-1] = '\0';
            *next = '\0';
        }
        p = next;
        user = next_user;
    }
    for (size_t i = 0; i < *n; i++)         /* Llama 2 ends each answer with </s>, and begins the next turn with <s> */
        if (!strcmp(turn[i].role, "assistant")) {
            char *end = strstr(text + (turn[i].content - text), "</s>");
            if (end)
                *end = '\0';
        }
}

/* Whether the text begins with the family's first mark, a BOS token aside, and ends with an assistant's header. */
static bool is_whole(const char *text, const char *first, const gram_message *turn, size_t n)
{
    static const char *const bos[] = { "", "<|begin_of_text|>", "<s>", "<bos>" };
    const char *answer = n ? turn[n - 1].content : "x";
    bool begins = false;

    for (size_t i = 0; i < GR_COUNT(bos); i++)
        begins = begins || (!strncmp(text, bos[i], strlen(bos[i]))
                            && !strncmp(text + strlen(bos[i]), first, strlen(first)));
    return begins && n >= 2 && !strcmp(turn[n - 1].role, "assistant") && !answer[strspn(answer, " \n")]
        && !strcmp(turn[n - 2].role, "user");
}

static int by_family(gr_req *r, const char *text, gram_prompt *out)
{
    size_t max = 0, n = 0;
    char *copy;
    gram_message *turn;

    for (size_t i = 0; i < GR_COUNT(family); i++)
        max += count(text, family[i].open);
    for (size_t i = 0; i < GR_COUNT(marked); i++)
        max += count(text, marked[i].user) + count(text, marked[i].assistant);
    turn = max ? gr_req_alloc(r, max, sizeof *turn) : NULL;
    if (!turn)
        return r->status;
    for (size_t i = 0; i < GR_COUNT(family) + GR_COUNT(marked); i++) {
        size_t k = i - GR_COUNT(family);
        const char *first = i < GR_COUNT(family) ? family[i].open : marked[k].user;
        if (!strstr(text, first))
            continue;
        copy = gr_req_strndup(r, text, strlen(text));
        if (!copy)
            return r->status;
        if (i < GR_COUNT(family))
            read_family(&family[i], copy, turn, &n);
        else
            read_marked(&marked[k], copy, turn, &n);
        if (is_whole(text, first, turn, n)) {
            *out = (gram_prompt){ .turn = turn, .n = n - 1 };
            return 0;
        }
    }
    return 0;
}

int gr_chattext_prompt(gr_req *r, const char *text, size_t n, gram_prompt *out)
{
    char *copy = gr_req_strndup(r, text, n);
    gram_message *turn, *kept;
    size_t turns;
    gram_err err;

    *out = (gram_prompt){ 0 };
    if (!copy)
        return r->status;
    if (r->engine->read_chat(r->engine, text, n, &turn, &turns, &err))
        return err.status == GRAM_ENOMEM ? gr_nomem_req(r) : by_family(r, copy, out);
    kept = gr_keep_turns(r, turn, turns);
    if (kept && turns > 0 && !strcmp(kept[turns - 1].role, "user"))
        *out = (gram_prompt){ .turn = kept, .n = turns };
    return kept ? 0 : r->status;
}
