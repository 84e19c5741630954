/* tokenizer.c - gram.h's tokenizer over src/text. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "api/api_int.h"
#include "base/err.h"

/* path: what the error calls the tokenizer's files. */
static gram_status check_front(const gram_tokenizer *t, const char *path, gram_err *err)
{
    if (t->front >= -1 && t->front < (int64_t)gr_tok_vocabulary(t->tok))
        return GRAM_OK;
    return gr_fail(err, GRAM_EFORMAT, "%s: \"post_processor\" of tokenizer.json puts token %" PRId64 " in front of a "
                   "text, and there is no such token", path, t->front);
}

gram_status gram_tokenizer_open_base(gram_tokenizer **out, const char *path, const char *base, gram_err *err)
{
    gram_tokenizer *t = gr_calloc(1, sizeof *t);
    gram_status rc = t ? gr_checkpoint_tokenizer(t, path, base, err) : gr_nomem(err, path);

    *out = NULL;
    if (!rc)
        rc = check_front(t, path, err);
    if (rc)
        gram_tokenizer_close(t);
    else
        *out = t;
    return rc;
}

gram_status gram_tokenizer_open(gram_tokenizer **out, const char *path, gram_err *err)
{
    return gram_tokenizer_open_base(out, path, NULL, err);
}

gram_status gram_tokenizer_of(const gram_tokenizer **out, const gram_model *m, gram_err *err)
{
    const char *path = m->file.own_words ? m->file.adapter->path : gr_weights_path(m->file.weights);
    gram_status rc;

    *out = NULL;
    if (!m->file.words.tok)
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: no tokenizer goes with the weights", path);
    rc = check_front(&m->file.words, path, err);
    if (!rc)
        *out = &m->file.words;
    return rc;
}

int32_t gram_tokenizer_bos(const gram_tokenizer *t)
{
    return t->bos;
}

void gram_tokenizer_close(gram_tokenizer *t)
{
    if (!t)
        return;
    gr_tok_close(t->tok);
    free(t);
}

/* Gives the ids to the caller, who frees an array of none too; nothing where rc is a failure. */
static gram_status hand_over(gr_ids *ids, gram_status rc, int32_t **out, size_t *n, gram_err *err)
{
    if (!rc && !ids->p && !(ids->p = gr_calloc(1, sizeof *ids->p)))
        rc = gr_nomem(err, "tokens");
    if (rc)
        gr_ids_clear(ids);
    *out = ids->p;
    *n = ids->n;
    return rc;
}

gram_status gram_tokenize(const gram_tokenizer *t, const char *text, size_t bytes, bool special,
                          int32_t **out, size_t *n, gram_err *err)
{
    gr_ids ids = { 0 };
    gram_status rc = gr_tok_encode(t->tok, text, bytes, special, &ids, err);

    return hand_over(&ids, rc, out, n, err);
}

gram_status gram_tokenize_prompt(const gram_tokenizer *t, const char *text, size_t bytes, int32_t **out, size_t *n,
                                 gram_err *err)
{
    gr_ids ids = { 0 };
    int32_t front = (int32_t)t->front;
    gram_status rc = front < 0 || gr_ids_add(&ids, &front, 1) ? GRAM_OK : gr_nomem(err, "tokens");

    if (!rc)
        rc = gr_tok_encode(t->tok, text, bytes, true, &ids, err);
    if (!rc && front >= 0 && ids.n > 1 && ids.p[1] == front)      /* the text has it already */
        memmove(ids.p, ids.p + 1, --ids.n * sizeof *ids.p);
    return hand_over(&ids, rc, out, n, err);
}

gram_status gram_detokenize(const gram_tokenizer *t, const int32_t *id, size_t n, bool special,
                            char **out, size_t *bytes, gram_err *err)
{
    gr_buf text = { 0 };
    gram_status rc = gr_tok_decode(t->tok, id, n, special, &text, err);

    if (!rc && !gr_buf_add(&text, "", 0))
        rc = gr_nomem(err, "text");
    if (rc)
        gr_buf_clear(&text);
    *out = text.p;
    *bytes = text.n;
    return rc;
}

gram_status gr_api_same_words(const gram_model *a, const gram_model *b, const char *what, gram_err *err)
{
    const gr_tok *p = a->file.words.tok, *q = b->file.words.tok;
    size_t n = gr_tok_vocabulary(p), m = q ? gr_tok_vocabulary(q) : 0;

    for (size_t i = 0; i < n && n == m; i++) {
        gr_str x = gr_tok_text(p, (int32_t)i), y = gr_tok_text(q, (int32_t)i);
        if (x.n != y.n || memcmp(x.p, y.p, x.n))
            return gr_fail(err, GRAM_EARG, "%s: token %zu is \"%.*s\" there and \"%.*s\" in the policy: %s "
                           "has to have its vocabulary", b->name, i, (int)gr_min(y.n, 40), y.p, (int)gr_min(x.n, 40),
                           x.p, what);
    }
    return n == m ? GRAM_OK : gr_fail(err, GRAM_EARG, "%s: a vocabulary of %zu tokens, and the policy's has %zu",
                                      b->name, m, n);
}
