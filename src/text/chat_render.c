/* chat_render.c - turns to pieces, and pieces to ids.
 *
 * Only the template's own tokens become special pieces; whatever a message holds goes into text pieces,
 * which gr_tok_encode() reads without special tokens. Equal, byte for byte, to what the checkpoints' jinja
 * templates print (tests/golden/chat.json). */
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "text/chat_int.h"

static gr_str str(const char *s) { return (gr_str){ s, strlen(s) }; }

/* White space as Python's str.strip() and so jinja's trim see it. */
static bool is_space(uint32_t u)
{
    return (u >= 9 && u <= 13) || (u >= 0x1c && u <= 0x20) || u == 0x85 || u == 0xa0 || u == 0x1680
        || (u >= 0x2000 && u <= 0x200a) || u == 0x2028 || u == 0x2029 || u == 0x202f || u == 0x205f || u == 0x3000;
}

/* The character at p, of n bytes at most, and its length. All white space is 1 to 3 bytes long. */
static uint32_t peek(const unsigned char *p, size_t n, size_t *len)
{
    *len = 1;
    if (p[0] < 0x80)
        return p[0];
    if (n >= 2 && (p[0] & 0xe0) == 0xc0) {
        *len = 2;
        return (p[0] & 0x1fu) << 6 | (p[1] & 0x3fu);
    }
    if (n >= 3 && (p[0] & 0xf0) == 0xe0) {
        *len = 3;
        return (p[0] & 0x0fu) << 12 | (p[1] & 0x3fu) << 6 | (p[2] & 0x3fu);
    }
    return UINT32_MAX;
}

static gr_str strip(gr_str s)
{
    size_t len;

    while (s.n && is_space(peek((const unsigned char *)s.p, s.n, &len))) {
        s.p += len;
        s.n -= len;
    }
    while (s.n) {
        size_t back = 1;
        while (back < s.n && back < 3 && ((unsigned char)s.p[s.n - back] & 0xc0) == 0x80)
            back++;
        if (!is_space(peek((const unsigned char *)s.p + s.n - back, back, &len)) || len != back)
            break;
        s.n -= back;
    }
    return s;
}

/* What Qwen3's template keeps of an earlier answer: the part behind its last </think>. */
static gr_str after_think(gr_str s)
{
    static const char mark[] = "</think>";
    const char *p = s.p, *last = NULL;

    while ((p = memmem(p, s.n - (size_t)(p - s.p), mark, sizeof mark - 1)) != NULL) {
        p += sizeof mark - 1;
        last = p;
    }
    if (!last)
        return s;
    s.n -= (size_t)(last - s.p);
    s.p = last;
    while (s.n && *s.p == '\n') {
        s.p++;
        s.n--;
    }
    return s;
}

/* ---- Pieces ------------------------------------------------------------------------------------- */

bool gr_chat_piece_add(gr_chat_text *t, bool special, bool join, size_t n)
{
    gr_chat_piece *last = t->n ? &t->piece[t->n - 1] : NULL, *grown;

    if (join && last && last->special == special) {
        last->n += n;
        return true;
    }
    grown = gr_grown(t->piece, t->n, &t->cap, 1, sizeof *grown);
    if (!grown)
        return false;
    t->piece = grown;
    t->piece[t->n++] = (gr_chat_piece){ special, t->text.n - n, n };
    return true;
}

static bool text(gr_chat_text *t, gr_str s)
{
    return !s.n || (gr_buf_add(&t->text, s.p, s.n) && gr_chat_piece_add(t, false, true, s.n));
}

static bool puts_text(gr_chat_text *t, const char *s) { return text(t, str(s)); }

static bool token(gr_chat_text *t, const char *name)
{
    return gr_buf_puts(&t->text, name) && gr_chat_piece_add(t, true, false, strlen(name));
}

static bool bos(gr_chat_text *t, const gr_chat *c) { return !c->bos || token(t, c->bos); }

/* ---- Families ----------------------------------------------------------------------------------- */

static gr_str content(const gr_chat *c, const gram_message *m)
{
    gr_str s = str(m->content);

    if (c->drop_think && !strcmp(m->role, "assistant"))
        s = after_think(s);
    return c->trim ? strip(s) : s;
}

static bool chatml_turn(gr_chat_text *t, const char *role, gr_str s)
{
    return token(t, "<|im_start|>") && puts_text(t, role) && puts_text(t, "\n") && text(t, s)
        && token(t, "<|im_end|>") && puts_text(t, "\n");
}

static gr_str strip_newlines(gr_str s, bool end)
{
    for (; s.n && *s.p == '\n'; s.n--)
        s.p++;
    while (end && s.n && s.p[s.n - 1] == '\n')
        s.n--;
    return s;
}

/* Qwen3's last answer: its thoughts stand in a block, which is there without any. */
static bool thought_turn(gr_chat_text *t, const char *answer)
{
    static const char open[] = "<think>", close[] = "</think>";
    const char *end = strstr(answer, close);
    gr_str thought = { answer, end ? (size_t)(end - answer) : 0 }, said = after_think(str(answer));

    for (const char *p; (p = memmem(thought.p, thought.n, open, sizeof open - 1)) != NULL; ) {
        thought.n -= (size_t)(p - thought.p) + sizeof open - 1;
        thought.p = p + sizeof open - 1;
    }
    return token(t, "<|im_start|>") && puts_text(t, "assistant\n<think>\n") && text(t, strip_newlines(thought, true))
        && puts_text(t, "\n</think>\n\n") && text(t, strip_newlines(said, false)) && token(t, "<|im_end|>")
        && puts_text(t, "\n");
}

static bool chatml(const gr_chat *c, const gram_message *turn, size_t n, bool answered, gr_chat_text *t)
{
    bool ok = bos(t, c);

    for (size_t i = 0; i < n && ok; i++)
        ok = answered && i == n - 1 && c->empty_think ? thought_turn(t, turn[i].content)
                                                      : chatml_turn(t, turn[i].role, content(c, &turn[i]));
    if (answered)
        return ok;
    return ok && token(t, "<|im_start|>") && puts_text(t, "assistant\n")
        && (!c->empty_think || puts_text(t, "<think>\n\n</think>\n\n"));
}

static bool llama3_header(gr_chat_text *t, const char *role)
{
    return token(t, "<|start_header_id|>") && puts_text(t, role) && token(t, "<|end_header_id|>")
        && puts_text(t, "\n\n");
}

static bool llama3(const gr_chat *c, const gram_message *turn, size_t n, bool answered, gr_chat_text *t)
{
    bool ok = bos(t, c);

    for (size_t i = 0; i < n && ok; i++)
        ok = llama3_header(t, turn[i].role) && text(t, content(c, &turn[i])) && token(t, "<|eot_id|>");
    return ok && (answered || llama3_header(t, "assistant"));
}

static bool gemma(const gr_chat *c, const gram_message *turn, size_t n, bool answered, gr_chat_text *t)
{
    const char *system = NULL;
    bool ok = bos(t, c);

    if (!strcmp(turn[0].role, "system")) {
        system = turn++->content;               /* as it is: the template strips only the turn's own text */
        n--;
    }
    for (size_t i = 0; i < n && ok; i++) {
        ok = token(t, "<start_of_turn>") && puts_text(t, i % 2 ? "model\n" : "user\n");
        if (i == 0 && system)
            ok = ok && puts_text(t, system) && puts_text(t, "\n\n");
        ok = ok && text(t, content(c, &turn[i])) && token(t, "<end_of_turn>") && puts_text(t, "\n");
    }
    return ok && (answered || (token(t, "<start_of_turn>") && puts_text(t, "model\n")));
}

static bool inst_mark(const gr_chat *c, gr_chat_text *t, const char *mark)
{
    return c->inst.tokens ? token(t, mark) : puts_text(t, mark);
}

/* A user turn's text, with the system's before it; stripped as a whole where the template strips. */
static bool inst_user(const gr_chat *c, gr_chat_text *t, const char *system, const char *user)
{
    gr_buf b = { 0 };
    bool ok;

    if (!system)
        ok = gr_buf_puts(&b, user);
    else if (c->inst.sys_marks)
        ok = gr_buf_printf(&b, "<<SYS>>\n%s\n<</SYS>>\n\n%s", system, user);
    else
        ok = gr_buf_printf(&b, "%s\n\n%s", system, user);
    if (ok) {
        gr_str s = { b.p, b.n };
        ok = text(t, c->trim ? strip(s) : s);
    }
    gr_buf_clear(&b);
    return ok;
}

static bool inst(const gr_chat *c, const gram_message *turn, size_t n, gr_chat_text *t)
{
    const gr_chat_inst *f = &c->inst;
    const char *system = NULL;
    bool ok = f->bos_each || bos(t, c);

    if (!strcmp(turn[0].role, "system")) {
        system = turn++->content;
        n--;
    }
    if (f->system_turn && system) {
        ok = ok && inst_mark(c, t, "[SYSTEM_PROMPT]") && puts_text(t, f->system_gap) && puts_text(t, system)
          && inst_mark(c, t, "[/SYSTEM_PROMPT]");
        system = NULL;
    }
    for (size_t i = 0; i < n && ok; i++) {
        if (i % 2 == 0) {
            bool here = f->system_last ? i == n - 1 : i == 0;
            ok = (!f->bos_each || bos(t, c)) && puts_text(t, f->lead) && inst_mark(c, t, "[INST]")
              && puts_text(t, f->gap) && inst_user(c, t, here ? system : NULL, turn[i].content)
              && puts_text(t, f->close) && inst_mark(c, t, "[/INST]");
        } else {
            gr_str s = str(turn[i].content);
            ok = puts_text(t, f->answer) && text(t, f->trim_answer ? strip(s) : s) && puts_text(t, f->after)
              && token(t, "</s>") && puts_text(t, f->next);
        }
    }
    return ok;
}

/* ---- The door ----------------------------------------------------------------------------------- */

/* Roles are known, and the conversation ends with the user's question, or an answer to it. Families that fold the
 * system text into a user turn know only strict alternation, as their templates do. */
static gram_status check_turns(const gr_chat *c, const gram_message *turn, size_t n, bool answered, gram_err *err)
{
    const char *last = answered ? "assistant" : "user";
    bool strict = c->kind != GR_CHAT_CHATML && c->kind != GR_CHAT_QWEN3 && c->kind != GR_CHAT_LLAMA3;
    size_t first = n && !strcmp(turn[0].role, "system");

    if (n == first || strcmp(turn[n - 1].role, last))
        return gr_fail(err, GRAM_EARG, "a conversation must end with a turn of the %s, found %s", last,
                       n ? turn[n - 1].role : "no turn");
    for (size_t i = first; i < n; i++) {
        const char *r = turn[i].role;
        if (strcmp(r, "user") && strcmp(r, "assistant") && strcmp(r, "system"))
            return gr_fail(err, GRAM_EARG, "turn %zu: role \"%s\" is not system, user or assistant", i + 1, r);
        if (strict && strcmp(r, (i - first) % 2 ? "assistant" : "user"))
            return gr_fail(err, GRAM_EARG, "turn %zu: chat template %s wants user and assistant to take turns, "
                           "found %s", i + 1, gr_chat_name(c->kind), r);
    }
    return GRAM_OK;
}

static gram_status render(const gr_chat *c, const gram_message *turn, size_t n, const char *tools, bool answered,
                          gr_chat_text *out, gram_err *err)
{
    gram_status rc = gr_chat_check_extra("the chat template", c->text, turn, n, tools, err);
    bool ok = false;

    if (!rc && c->kind == GR_CHAT_JINJA)
        return gr_chat_run(c, turn, n, tools, answered, out, err);
    if (!rc)
        rc = check_turns(c, turn, n, answered, err);
    if (rc)
        return rc;
    switch (c->kind) {
    case GR_CHAT_CHATML:
    case GR_CHAT_QWEN3:   ok = chatml(c, turn, n, answered, out); break;
    case GR_CHAT_LLAMA3:  ok = llama3(c, turn, n, answered, out); break;
    case GR_CHAT_GEMMA:   ok = gemma(c, turn, n, answered, out); break;
    case GR_CHAT_LLAMA2:
    case GR_CHAT_MISTRAL: ok = inst(c, turn, n, out); break;
    case GR_CHAT_JINJA:
    case GR_CHAT_NONE:
        return gr_fail(err, GRAM_EUNSUPPORTED, "no chat template; name one with `template`");
    }
    return ok ? GRAM_OK : gr_nomem(err, "chat text");
}

gram_status gr_chat_render(const gr_chat *c, const gram_message *turn, size_t n, const char *tools, gr_chat_text *out,
                           gram_err *err)
{
    return render(c, turn, n, tools, false, out, err);
}

gram_status gr_chat_render_answered(const gr_chat *c, const gram_message *turn, size_t n, const char *tools,
                                    gr_chat_text *out, gram_err *err)
{
    return render(c, turn, n, tools, true, out, err);
}

void gr_chat_text_clear(gr_chat_text *t)
{
    gr_buf_clear(&t->text);
    free(t->piece);
    *t = (gr_chat_text){ 0 };
}

static gram_status encode_token(const gr_tok *tok, gr_str name, gr_ids *out, gram_err *err)
{
    char *s = gr_strndup(name.p, name.n);
    int32_t id = s ? gr_tok_find(tok, s) : -1;
    gram_status rc = GRAM_OK;

    if (!s)
        rc = gr_nomem(err, "chat text");
    else if (id < 0)
        rc = gr_fail(err, GRAM_EFORMAT, "the chat template's token %s is not in the tokenizer's vocabulary", s);
    else if (!gr_ids_add(out, &id, 1))
        rc = gr_nomem(err, "token ids");
    free(s);
    return rc;
}

static gram_status encode_program(const gr_tok *tok, const gr_chat_text *t, gr_ids *out, gram_err *err)
{
    gr_tok_run *run = gr_calloc(t->n, sizeof *run);
    gram_status rc;

    if (!run)
        return gr_nomem(err, "chat text");
    for (size_t i = 0; i < t->n; i++)
        run[i] = (gr_tok_run){ t->piece[i].start + t->piece[i].n, t->piece[i].special };
    rc = gr_tok_encode_runs(tok, t->text.p, t->text.n, run, t->n, out, err);
    free(run);
    return rc;
}

gram_status gr_chat_check_some(const gr_ids *ids, gram_err *err)
{
    return ids->n ? GRAM_OK : gr_fail(err, GRAM_EUNSUPPORTED, "the chat template writes nothing of the conversation");
}

gram_status gr_chat_encode(const gr_tok *tok, const gr_chat_text *t, gr_ids *out, gram_err *err)
{
    if (t->program)
        return t->n ? encode_program(tok, t, out, err) : GRAM_OK;
    for (size_t i = 0; i < t->n; i++) {
        gr_str s = { t->text.p + t->piece[i].start, t->piece[i].n };
        gram_status rc = t->piece[i].special ? encode_token(tok, s, out, err)
                       : (i ? gr_tok_encode_behind : gr_tok_encode)(tok, s.p, s.n, false, out, err);
        if (rc)
            return rc;
    }
    return GRAM_OK;
}

gram_status gr_chat_ids(const gr_chat *c, const gr_tok *tok, const gram_message *turn, size_t n, const char *tools,
                        gr_ids *out, gram_err *err)
{
    gr_chat_text text = { 0 };
    gram_status rc = gr_chat_render(c, turn, n, tools, &text, err);

    if (!rc)
        rc = gr_chat_encode(tok, &text, out, err);
    if (!rc)
        rc = gr_chat_check_some(out, err);
    gr_chat_text_clear(&text);
    return rc;
}
