/* tokenizer.c - gram.h's tokenizer over src/text. */
#include <stdlib.h>
#include <string.h>
#include "api/api_int.h"
#include "base/err.h"

gram_status gram_tokenizer_open(gram_tokenizer **out, const char *path, gram_err *err)
{
    gram_tokenizer *t = gr_calloc(1, sizeof *t);
    gram_status rc = t ? gr_checkpoint_tokenizer(&t->tok, &t->front, path, err) : gr_nomem(err, path);

    *out = NULL;
    if (rc)
        free(t);
    else
        *out = t;
    return rc;
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
    gram_status rc = t->front < 0 || gr_ids_add(&ids, &t->front, 1) ? GRAM_OK : gr_nomem(err, "tokens");

    if (!rc)
        rc = gr_tok_encode(t->tok, text, bytes, true, &ids, err);
    if (!rc && t->front >= 0 && ids.n > 1 && ids.p[1] == t->front)      /* the text has it already */
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
    size_t n = gr_tok_vocabulary(a->file.tok), m = b->file.tok ? gr_tok_vocabulary(b->file.tok) : 0;

    for (size_t i = 0; i < n && n == m; i++) {
        gr_str x = gr_tok_text(a->file.tok, (int32_t)i), y = gr_tok_text(b->file.tok, (int32_t)i);
        if (x.n != y.n || memcmp(x.p, y.p, x.n))
            return gr_fail(err, GRAM_EARG, "%s: token %zu is \"%.*s\" there and \"%.*s\" in the policy: %s "
                           "has to have its vocabulary", b->name, i, (int)gr_min(y.n, 40), y.p, (int)gr_min(x.n, 40),
                           x.p, what);
    }
    return n == m ? GRAM_OK : gr_fail(err, GRAM_EARG, "%s: a vocabulary of %zu tokens, and the policy's has %zu",
                                      b->name, m, n);
}
