/* rationale.h - a judge that writes its reasons before its verdict, several times over, and votes (GRAM-R2).
 *
 *     gram_rationale_options o;
 *     gram_reasoner *r;
 *     gram_reasoned v;
 *     gram_rationale_options_init(&o);
 *     o.votes = 4;
 *     if (gram_reasoner_open(&r, m, &o, &err)) { puts(err.text); return 1; }
 *     if (!gram_reason(r, &pair, 1, &v, &bad, &err)) {
 *         printf("%.3f\n%s\n", v.verdict.preference, v.rationale[0].text);
 *         gram_reasoned_clear(&v);
 *     }
 *     gram_reasoner_close(r);
 *
 * The model writes up to the tag that closes its reasons, an end of its turn, or max_tokens. What is missing of the tag
 * and of the verdict's cue is put behind, and the verdict is the softmax of the two labels' logits there:
 *
 *     p_j  = P(a beats b) after rationale j              s(z_A - z_B) where a was read first, s(z_B - z_A) where b was
 *     soft = mean of p_j       standard error = sd(p_j) / sqrt(k)        hard = share of p_j > 1/2, a half for a tie
 *
 * so there is always a verdict, and no text is searched for one. A rationale is judged by its text, read anew: what is
 * stored scores the same bits again. Its draws depend on the seed, the pair and its number alone, so a pair has the
 * same rationales in any batch and any order. docs/rationale.md says what the paper leaves open and what is done. */
#ifndef GRAM_RATIONALE_H
#define GRAM_RATIONALE_H

#include "gram/generate.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

#define GRAM_VOTES_MOST 1024

/* Strings are copied by gram_reasoner_open(). */
typedef struct gram_rationale_options {
    const char *format;             /* "gram-r2", "rm-r1" or "think-rm"; else the path of a JSON object, or its text:
                                     * {"opening", "closing", "cue", "ending", "labels": ["A", "B"], "prompt"}. NULL: as
                                     * the model's judge.json says that it learnt it, or gram-r2 */
    const char *prompt;             /* judge prompt; NULL: the one that gram_open() was given, or else the format's; a
                                     * file's "prompt" beside another one is refused */
    size_t votes;                   /* rationales of a pair, over both orders in turn: a first, b first, ... */
    size_t max_tokens;              /* of one rationale, its closing tag included */
    double temperature, top_p;      /* as in gram_generation */
    size_t top_k;
    double min_p;
    uint64_t seed;
    gram_products products;         /* FEW is quicker for a pair or two at a time, TILES (AUTO too) for files. With
                                     * either a pair has its rationales in any company, not the other's */
    bool single_order;              /* a is always read first; of a pair that is turned, b */
    size_t early;                   /* no more rationales where the first `early` all prefer the same answer ... */
    double sure;                    /* ... each with more than this probability; early 0: all are always written */
} gram_rationale_options;
/* The model's own form; 2 votes, 512 tokens, temperature 1, top_p 1, early 0, sure 0.9. */
void gram_rationale_options_init(gram_rationale_options *o);
/* GRAM_EARG names the option that cannot be meant. The format's file is read. */
gram_status gram_rationale_options_check(const gram_rationale_options *o, gram_err *err);

typedef enum {
    GRAM_RATIONALE_CLOSED,          /* by the model itself */
    GRAM_RATIONALE_FORCED           /* it ended its turn without the closing tag, or ran into max_tokens */
} gram_rationale_status;
const char *gram_rationale_status_name(gram_rationale_status s);        /* "closed", "forced" */

typedef struct {
    char *text;                     /* UTF-8, NUL-terminated; tags and white space around it left out */
    bool swapped;                   /* b stood in the first seat */
    double p;                       /* P(a beats b) after it */
    float logit[2];                 /* of label A, the first seat's, and of label B */
    gram_rationale_status status;
    bool contradicts;               /* its conclusion names one answer, and the logits prefer the other */
    size_t tokens;                  /* that the model wrote, the closing tag or end included */
    uint64_t seed;                  /* of its draws */
} gram_rationale;

typedef struct {
    /* preference is the soft vote, p_forward and p_swapped the means of the two orders (NAN where one has none),
     * logit_margin the mean margin for a, consistent whether the orders agree; tokens: the prompt of each order once,
     * and all that was written. logit is that of the first rationale of each order, 0 where one has none. */
    gram_verdict verdict;
    double error;                   /* standard error of preference over rationales; NAN of one alone */
    double hard;                    /* share of rationales that prefer a */
    double first_seat;              /* share that prefer the answer read first */
    size_t votes[2];                /* for a, for b */
    gram_rationale *rationale;      /* [n] in the order of their numbers; none where both answers are the same */
    size_t n, forced, contradicts, written;     /* written: tokens */
    bool early;                     /* fewer than `votes` were written, for the first agreed */
} gram_reasoned;
void gram_reasoned_clear(gram_reasoned *v);

typedef struct gram_reasoner gram_reasoner;
/* Over a model that stays open until gram_reasoner_close(). GRAM_EUNSUPPORTED: a reward model, which cannot write, or a
 * tokenizer to which a label is not one token behind the cue. Several threads may share one: their calls wait for each
 * other. */
gram_status gram_reasoner_open(gram_reasoner **out, gram_model *m, const gram_rationale_options *opt, gram_err *err);
void gram_reasoner_close(gram_reasoner *r);     /* NULL is fine */

/* out[n], each to be cleared. Where one pair is to blame for a failure *bad is its index, otherwise n. */
gram_status gram_reason(gram_reasoner *r, const gram_pair *pair, size_t n, gram_reasoned *out, size_t *bad,
                        gram_err *err);
/* The verdict after a rationale that is there already, such as a stored one; status is CLOSED, tokens 0 and seed 0.
 * *out's text is a copy to free(). */
gram_status gram_rationale_read(gram_reasoner *r, const gram_pair *pair, bool swapped, const char *text,
                                gram_rationale *out, gram_err *err);
/* gram_rank() by soft votes. fn, where not NULL, is told of each comparison of responses i and j (n: the reference),
 * what was written included; non-zero stops, and the call returns GRAM_ESTOPPED. */
typedef int gram_reason_compared_fn(void *arg, size_t i, size_t j, const gram_reasoned *v);
gram_status gram_reason_rank(gram_reasoner *r, gram_prompt prompt, const char *const *response, size_t n,
                             gram_rank_method method, const char *reference, gram_reason_compared_fn *fn, void *arg,
                             gram_ranking *out, gram_err *err);
/* The prompt of one order up to where the rationale begins, special tokens written out; malloc'ed, free() it. */
gram_status gram_reason_show(gram_reasoner *r, const gram_pair *pair, bool swapped, char **out, gram_err *err);

/* What `gram score --rationale` writes of it beside a plain verdict (docs/rationale.md), as the text of a JSON object;
 * malloc'ed, NULL where memory ran out. */
char *gram_reasoned_json(const gram_reasoned *v, uint64_t seed);

/* ---- Token by token ------------------------------------------------------------------------------ */

/* The rationales of one pair, a token of each at a time, beside the other writers of the model (gram/generate.h); other
 * calls on the model may run in between. They are those that gram_reason() writes.
 *
 *     rc = gram_reasoning_open(&g, r, &pair, &err);
 *     for (bool more = true; !rc && more; ) {
 *         do
 *             rc = gram_reasoning_write(g, fn, arg, &more, &err);
 *         while (!rc && more);
 *         if (!rc)
 *             rc = gram_reasoning_read(g, &more, &err);       more: of the first ones not all agreed (early)
 *     }
 *     v = gram_reasoning_verdict(g);                          lives until
 *     gram_reasoning_close(g);
 */
typedef struct gram_reasoning gram_reasoning;
/* What a rationale has more, which lives until the callback returns. */
typedef struct {
    size_t index;                   /* its number; b is read first where it is `swapped` */
    bool swapped, ended;
    const char *more;               /* [bytes] well-formed UTF-8 */
    size_t bytes;
} gram_reasoning_part;
typedef gram_status gram_reasoning_fn(void *arg, const gram_reasoning_part *part, gram_err *err);
/* The reasoner stays open, and its products are FEW (GRAM_EARG: they are not). Fails as gram_reason() does of a pair
 * that it blames. */
gram_status gram_reasoning_open(gram_reasoning **out, gram_reasoner *r, const gram_pair *pair, gram_err *err);
/* *more: some rationale goes on. Otherwise their verdicts are to be read. */
gram_status gram_reasoning_write(gram_reasoning *g, gram_reasoning_fn *fn, void *arg, bool *more, gram_err *err);
/* A forward pass over the rationales as written. *more: others are to be written. */
gram_status gram_reasoning_read(gram_reasoning *g, bool *more, gram_err *err);
const gram_reasoned *gram_reasoning_verdict(const gram_reasoning *g);
void gram_reasoning_close(gram_reasoning *g);   /* NULL is fine */

/* Foreign text: what a judge of this format wrote. *rationale gets what stands before the last closing tag and behind
 * the last opening tag before that, malloc'ed; label: 0 or 1 by the label in the last cue and ending, -1: none. Without
 * a closing tag all of the text is the rationale. */
gram_status gram_rationale_parse(const char *format, const char *text, char **rationale, int *label, gram_err *err);

/* ---- Proofs of a preference ---------------------------------------------------------------------- */

typedef struct {
    size_t k;                       /* proofs of a pair, half of them in each order: 4 */
    size_t max_tokens;              /* of one; a proof that is cut is not kept: 256 */
    double temperature, top_p;      /* 1 and 1 */
    uint64_t seed;
    double least;                   /* a pair whose best proof scores less gets none: -1 */
    gram_products products;         /* as in gram_rationale_options */
    const char *format, *prompt;    /* likewise; the prompt is the prover's: "{label}" is where the better label goes */
} gram_prove_options;
void gram_prove_options_init(gram_prove_options *o);

typedef struct {
    char *text;
    bool swapped;                   /* written with the better answer in the second seat */
    double ll_given, ll_alone;      /* sums of log-probabilities of its tokens: told the pair and label, and without */
    double score;                   /* - ll_given / ll_alone, at most 0: nearest 0 is best */
    const char *flaw;               /* why it cannot be a rationale, static; NULL: it can */
    size_t tokens;
    uint64_t seed;
} gram_proof;
typedef struct {
    gram_proof *proof;
    size_t n, best;                 /* best: n where there is none */
    char *rationale;                /* the best one with {first} for the better answer and {second} for the other */
    const char *dropped;            /* why there is none, static */
    bool truncated;                 /* the pair was shortened to fit */
} gram_proved;
void gram_proved_clear(gram_proved *v);

typedef struct {
    gram_file_report file;
    uint64_t proved, unproved;      /* rows with a rationale, and without; ties are among the latter */
    uint64_t proofs, cut, contrary; /* written; of them cut at max_tokens, and concluding for the other answer */
    double   score;                 /* the mean of those kept; NAN where there is none */
} gram_prove_report;
/* Proves the preference of each row of pairs and writes a line for each: the pair with its "rationale", which
 * `gram finetune --loss rationale` reads, or null and what it was "dropped" for, and all proofs with their scores.
 * prover: a model trained with the loss proof, or any. The same bytes after a resume. opt, file and report may be
 * NULL. */
gram_status gram_prove_file(gram_model *prover, const char *in, const char *out, const gram_prove_options *opt,
                            const gram_file_options *file, gram_prove_report *report, gram_err *err);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
