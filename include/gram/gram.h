/* gram.h - score, rank and evaluate answers with a generative reward model.
 *
 * A language model reads a question and two answers, and the probability of its one-token verdict,
 * "A" or "B", is the reward (GRAM, ICML 2025). With z the logits of the two labels and s() the sigmoid,
 *
 *     p_forward  = s(z_A - z_B)   reading a first, b second
 *     p_swapped  = s(z_B - z_A)   reading b first, a second
 *     preference = (p_forward + p_swapped) / 2             the probability that a beats b
 *
 *     gram_model *m;
 *     gram_err err;
 *     gram_message q = { .role = "user", .content = "Why is the sky blue?" };
 *     gram_pair pair = { .prompt = { .turn = &q, .n = 1 }, .a = "Rayleigh scattering.", .b = "It is painted." };
 *     gram_verdict v;
 *     if (gram_open(&m, "model.gguf", NULL, &err)) { puts(err.text); return 1; }
 *     if (!gram_score(m, &pair, 1, &v, &err))
 *         printf("%.3f\n", v.preference);
 *     gram_close(m);
 *
 * All strings are UTF-8 and NUL-terminated, borrowed for the call; a text that is not, or is NULL, is GRAM_EARG. Other
 * pointers are NULL only where that is said. One gram_model serves many threads: calls wait for each other, and each
 * uses all of its threads. A thread that computes handles signals between products, milliseconds apart
 * (docs/decisions/0001-onednn.md). A score has the same bits alone, in any batch and order and at any number of
 * threads, on one kind of CPU. */
#ifndef GRAM_GRAM_H
#define GRAM_GRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "gram/error.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)        /* what the shared library shows; all else in it is hidden */

#define GRAM_VERSION "0.1.0"
const char *gram_version(void);             /* of the library linked; GRAM_VERSION is this header's */

/* ---- Opening a model ---------------------------------------------------------------------------- */

typedef struct gram_model gram_model;

typedef enum {
    GRAM_F32,               /* weights held and multiplied in float32 */
    GRAM_BF16,              /* weights held in bfloat16; and multiplied in it where the CPU can: gram_arithmetic() */
    GRAM_INT8,              /* 8-bit weights, a scale per output channel; two-byte activations, a scale per token */
    GRAM_INT8_FAST,         /* the same, but of a text that a verdict or a reward is read behind, activations between
                             * the judge's words and the last 16 tokens have one byte, and so has what many answers are
                             * written with (GRAM_PRODUCTS_BYTES); without VNNI it is GRAM_INT8 */
    GRAM_DTYPE_AUTO         /* to be asked for: GRAM_INT8 of a model that gram_convert() wrote so, which opens with
                             * no other than the two of 8 bits; GRAM_F32 of any other model */
} gram_dtype;

typedef enum {
    GRAM_TRUNCATE_ERROR,    /* a pair that does not fit fails with GRAM_ELIMIT */
    GRAM_TRUNCATE_BALANCED, /* the question's middle goes first, then both answers evenly */
    GRAM_TRUNCATE_DROP      /* its verdict says dropped, and holds no score */
} gram_truncate;

/* A sentence meant for a person: a bad row that was skipped, a key of a file that is left out of account. */
typedef void gram_warn_fn(void *arg, const char *text);

/* All zeros asks for every default. Strings are copied by gram_open(). */
typedef struct {
    int           threads;          /* 0: one for each core, in a container as many as its share of time fills */
    gram_dtype    dtype;
    size_t        max_tokens;       /* of one order's prompt; 0: what the model's context allows */
    gram_truncate truncate;
    size_t        batch_tokens;     /* computed together; 0: 4096. Changes speed and memory, no result */
    bool          single_order;     /* read a first only: half the cost, and position bias is not averaged. gram_eval()
                                     * reads b first in half of the rows, since a is the better answer there, and
                                     * gram_rank() draws who is read first (gram_pair_draw()) */
    const char   *judge_prompt;     /* the text, with {input}, {response_a}, {response_b}; NULL: the default */
    const char   *label_a, *label_b;/* one token each; NULL: "A", "B"; pointwise: "Yes", "No" */
    bool          pointwise;        /* the judge reads one answer at a time and its reward is the margin of the labels'
                                     * logits, z_a - z_b, as if it had a reward head: n answers cost n passes. The judge
                                     * prompt then holds {input} and {response} */
    const char   *scale;            /* pointwise: "0-10", a range of whole numbers within 0-100. Instead of two labels
                                     * the judge has these numbers as its reply, and the reward is the expected
                                     * one; NULL: none */
    const char   *chat_template;    /* NULL: the model's own. The path of a file that holds a template in Jinja, or of
                                     * those written in C chatml|llama3|llama2|mistral|qwen3|gemma */
    const char   *chat_args;        /* the text of a JSON object: variables for a template in Jinja, such as
                                     * {"enable_thinking": true}, which a judge otherwise gets as false; NULL: none */
    const char   *base;             /* of a LoRA adapter: where its base model is; NULL: where the adapter says */
    double        lambda;           /* PURM: rank by mean - lambda u. The paper takes 30; 0: by the mean alone, and
                                     * all that a model without a PURM head takes */
    const char   *reward_token;     /* "0": the id of a token whose logit after a conversation is the reward, of a
                                     * language model that was trained so; NULL: none */
    const char   *reward_weights;   /* "0.65,0.8,-0.4": the reward is the sum of a head's outputs with these weights */
    gram_warn_fn *note;             /* may be NULL: sentences about the model's files for a person */
    void         *note_arg;
    size_t        prefix_cache_bytes;   /* keys and values of what prompts begin with, kept between calls; 0: 512
                                     * tokens */
    size_t        text_bytes;       /* keys and values of the texts that are written at once; 0: 1 GiB */
    const char   *device;           /* what computes: "cpu", a GPU by its number as in "cuda:0", or "auto", the first
                                     * GPU that can be used and otherwise the CPU; NULL: what GRAM_DEVICE in the
                                     * environment says, or the CPU. See gram_gpus() */
} gram_options;

/* Opens a Hugging Face directory, a .gguf file (the first part of a split one opens all), or a LoRA adapter, the
 * directory that PEFT writes or the GGUF that llama.cpp's converter does, which is added to its base model; path NULL
 * is the judge that came with gram (gram/shipped.h). A directory may hold judge.json, with the name of the judge and
 * the temperature T that calibrates it: each probability is then that of logits and rewards divided by T. On success
 * *out is yours: gram_close() it. On failure *out is NULL and *err names the file and the tensor. opt may be NULL. */
gram_status gram_open(gram_model **out, const char *path, const gram_options *opt, gram_err *err);
/* Whether a text can be a judge prompt, as gram_open() will ask: GRAM_EARG names the placeholder that it lacks. */
gram_status gram_check_judge_prompt(const char *text, gram_err *err);
gram_status gram_check_pointwise_prompt(const char *text, gram_err *err);       /* the same with `pointwise` */
/* A judge prompt that a file, or a pipe, holds, checked: malloc'ed, free() it. GRAM_EARG: it is empty, holds a NUL
 * byte, or lacks a placeholder; the sentence begins with the path. */
gram_status gram_read_judge_prompt(char **out, const char *path, bool pointwise, gram_err *err);
void gram_close(gram_model *m);             /* NULL is fine */
/* That calibrates its probabilities: of judge.json, 0 where there is none or the options set it aside. */
double gram_temperature(const gram_model *m);
/* What its layers' weights are multiplied in: "float32", "8-bit integers", "bfloat16, sums in float32"; with GRAM_BF16
 * on a CPU without such products "float32, of weights held in bfloat16"; with GRAM_F32 on one with AMX "float32 as sums
 * of two bfloat16". Between these numbers differ by more than their last bits. Lives as long as the program. */
const char *gram_arithmetic(const gram_model *m);
/* 16 hexadecimal digits, which two models share where their weights (as far as a resume looks at them), the type that
 * these are held in, and all of how they ask and are asked are the same. */
void gram_fingerprint(const gram_model *m, char out[17]);
const char *gram_head(const gram_model *m); /* what it ends in, as gram_info says it; lives as long as the program */

typedef struct { const char *name; size_t count; uint64_t bytes; } gram_type_count;
typedef struct { const char *name; char value[160]; } gram_fact;        /* "caps": "scores at 50, logits at 30" */
typedef struct {
    const char *architecture;       /* "llama", "qwen3", ...: a name of src/file/arch.c */
    const char *format;             /* "safetensors", "gguf" */
    const char *chat_template;      /* "jinja": the model's own, or a file; or a name as in gram_options; NULL: none */
    const char *tokenizer;          /* "byte-level BPE", "SentencePiece BPE"; NULL: the directory has none */
    const char *cpu;                /* the code path: "ref", "avx2", "avx512", "avx512+vnni", "avx512+vnni+bf16" */
    const char *arithmetic;         /* as gram_arithmetic() says it of a model that is opened so */
    uint64_t parameters, file_bytes;
    uint64_t weight_bytes;          /* held in memory by the dtype asked for, mapped pages included */
    uint64_t work_bytes;            /* besides the weights, for one full batch */
    size_t layers, width, heads, kv_heads, head_dim, hidden, vocabulary, context, window;
    size_t experts, experts_chosen;         /* of a layer, and those that a token gets; 0: there are none */
    size_t expert_hidden, expert_layers;    /* units of an expert, and layers that have experts */
    bool tied_head;
    const char *head;               /* "vocabulary", or of a reward model "reward" or "purm" */
    char head_name[64];             /* what the file calls a reward head, as in "v_head.summary"; otherwise "" */
    gram_type_count type[16];       /* of the file's tensors */
    size_t types;
    gram_fact fact[12];             /* what else of the architecture changes a number: rope, norms, caps and the like */
    size_t facts;
    size_t adapter_rank;            /* of a LoRA adapter, all else being its base model's; 0: a whole model */
    double adapter_alpha;
    uint64_t adapter_parameters;
    char base[1024];                /* path of the base model, cut where it is longer; "" for a whole model */
    double temperature;             /* of judge.json; 0: it says none */
    char judge[128];                /* what judge.json calls it, cut where that is longer; "": nothing */
    char path[1024];                /* the path that was given, or that of the shipped judge, cut where it is longer */
} gram_info;
/* A GPU of this machine; "cuda:" and its place in the list is its name. */
typedef struct {
    char name[256];                 /* "NVIDIA H200" */
    int major, minor;               /* its compute capability */
    uint64_t bytes, free_bytes;     /* of memory */
} gram_gpu;
/* n of them at most; how many there are. 0: *err says what is missing, and where it was looked for. */
size_t gram_gpus(gram_gpu *out, size_t n, gram_err *err);

/* Describes a model without loading its weights into memory. Strings live as long as the program. */
gram_status gram_inspect(const char *path, const gram_options *opt, gram_info *out, gram_err *err);

/* ---- Pairs -------------------------------------------------------------------------------------- */

/* extra: what else the message holds, as the text of one JSON object, NULL where it is nothing: tool_calls,
 * tool_call_id, name, reasoning_content and the like, for the model's own chat template; "content": null in it says
 * that there is no content (which is then ""). A template that writes none of what belongs to the conversation
 * (tool_calls, thoughts, tools) is a reason to refuse the pair by that name, not to leave it out. */
typedef struct {
    const char *role, *content;     /* role: system, user, assistant or tool */
    const char *extra;
} gram_message;
/* A conversation that ends with a turn of the user, or of a tool. Its system message and earlier turns go into {input}.
 * tools: the functions that the assistant may call, as the text of a JSON array; NULL: none. */
/* criteria: what the answers are judged by, a rubric or a principle; NULL or "": none. It goes where the judge prompt
 * has {criteria}; a judge prompt without that place, and a reward model, refuse it (GRAM_EARG), as a judge prompt with
 * it refuses a prompt that has none. Who writes an answer does not read it. */
typedef struct { const gram_message *turn; size_t n; const char *tools, *criteria; } gram_prompt;
/* extra_a, extra_b: what the two answers hold besides their text, as of a message. turned: where not as much is read in
 * each order (single_order, an odd number of rationales), b has the seat that a has otherwise. */
typedef struct { gram_prompt prompt; const char *a, *b, *extra_a, *extra_b; bool turned; } gram_pair;
/* Whether to turn the pair, where no answer may have the first seat by its place: a draw by a digest of its texts,
 * which gives the pair of b and a the same first seat. gram_rank() does so. */
bool gram_pair_draw(const gram_pair *pair);

/* What a model with a reward head gives an answer; of a model that compares there is none. */
typedef struct {
    double mean;                    /* the reward: higher is better; only differences within a prompt mean something */
    double sigma;                   /* PURM: the reward's standard deviation; otherwise 0 */
    double mass;                    /* a scale: the probability that the reply is one of its numbers; otherwise 0 */
    size_t tokens;                  /* that the model reads; tokens, truncated and dropped: of gram_rewards() alone */
    bool   truncated, dropped;
} gram_reward;

typedef struct {
    double preference;              /* P(a beats b), the orders averaged */
    double p_forward, p_swapped;    /* each P(a beats b); single_order: p_swapped is NAN, of a turned pair p_forward */
    double logit_margin;            /* z of a's label minus z of b's, the orders averaged */
    float  logit[2][2];             /* [order][label A, label B], as the model gave them */
    bool   consistent;              /* both orders prefer the same answer */
    bool   truncated;               /* text was left out to fit max_tokens */
    bool   dropped;                 /* GRAM_TRUNCATE_DROP: too long, nothing above holds */
    size_t tokens;                  /* that the model reads, of both orders together, each whole */
    bool   rewarded;                /* by a reward head, as said below; reward holds a's and b's */
    bool   spread;                  /* PURM: they have a sigma */
    gram_reward reward[2];
    double temperature;             /* that the probabilities are calibrated by (gram_open()), 0 or 1: none. logit,
                                     * logit_margin and reward are before it, and so is whatever orders answers */
} gram_verdict;

/* A model with a reward head (a tensor such as score.weight or v_head.summary.weight, whatever the class is called)
 * reads each conversation with one answer at its end, in its chat template and without a judge prompt. Then preference
 * is s(reward a - reward b), or E s() over PURM's normal rewards, and logit_margin the difference of the means. There
 * are no two orders: p_forward is preference, p_swapped NAN, consistent true, logit 0, and single_order changes
 * nothing. */

/* Where both answers are the same, or were shortened to the same, there is nothing to judge: preference, p_forward and
 * p_swapped are 0.5, logit_margin 0 and consistent true; the logits are as they were read. */

/* out[n]. Pairs are packed into batches of batch_tokens; prefixes that pairs share are computed once.
 * On failure (GRAM_ELIMIT: err says which pair, counted from 0) out holds nothing of use. */
gram_status gram_score(gram_model *m, const gram_pair *pair, size_t n, gram_verdict *out, gram_err *err);
/* The same, and where one pair is to blame *bad is its index and err speaks of it alone; otherwise *bad is n. No pair
 * before it is at fault in that way. */
gram_status gram_score_each(gram_model *m, const gram_pair *pair, size_t n, gram_verdict *out, size_t *bad,
                            gram_err *err);

/* The reward of each answer to the prompt, out[n]. GRAM_EUNSUPPORTED where the model has no reward head and is no
 * judge of one answer (pointwise). */
gram_status gram_rewards(gram_model *m, gram_prompt prompt, const char *const *answer, size_t n, gram_reward *out,
                         gram_err *err);
/* A conversation as the text that the checkpoint's chat template made of it, answer included. It is read as it stands:
 * what looks like a special token is one, nothing is added, and the BOS token that the template begins with stands
 * there once whether the text has it or not. Where the answer is known to be bytes [answer, answer_end), what looks
 * like a special token in these is text; equal: it is not known. */
typedef struct {
    const char *text;
    size_t bytes, answer, answer_end;
    const int32_t *id;              /* where not NULL, the tokens of the text, which are read as they are: not even a */
    size_t n_ids;                   /* BOS is added */
} gram_text;
/* The reward of each text, out[n], by a model with a reward head. Where one text is to blame for a failure *bad is its
 * index, otherwise n. A text that is too long is never cut. */
gram_status gram_text_rewards(gram_model *m, const gram_text *text, size_t n, gram_reward *out, size_t *bad,
                              gram_err *err);
/* The messages that the checkpoint's chat template makes this text of, as one block to free(). The last one is the
 * user's where the text ends with the header of an answer; otherwise it is the answer, as far as it goes. GRAM_EARG
 * where the template makes the text of no conversation. A turn that holds others' marks cannot be told from these. */
gram_status gram_read_chat(const gram_model *m, const char *text, size_t bytes, gram_message **turn, size_t *n,
                           gram_err *err);

/* u[i]: how far the rewards' normal distributions overlap with those of the others, PURM's measure of uncertainty: the
 * mean over j != i of Bhattacharyya's coefficient of N(mean_i, sigma_i^2) and N(mean_j, sigma_j^2), over at most 2,048
 * others, spread evenly over the list. NAN where n is 1. mean - lambda u is PURM's penalised reward. */
void gram_overlap(const double *mean, const double *sigma, size_t n, double *u);

/* ---- Groups ------------------------------------------------------------------------------------- */

typedef enum {
    GRAM_RANK_LINEAR,       /* keep the best so far, n-1 comparisons; repeated on the rest for a full ranking */
    GRAM_RANK_TOURNAMENT,   /* a merge sort by comparison: about n log2 n */
    GRAM_RANK_ALL_PAIRS,    /* n(n-1)/2 comparisons and a Bradley-Terry fit of their preferences */
    GRAM_RANK_REFERENCE     /* each against one reference answer, n comparisons */
} gram_rank_method;

typedef struct {
    size_t *order;          /* [n] indices, best first */
    double *score;          /* [n] in the order of the input: a number per response, higher is better.
                             * all-pairs: Bradley-Terry strength (natural log, mean 0). reference: the
                             * preference over the reference. linear, tournament: comparisons won / made.
                             * A judge's temperature changes none of the first three methods' scores, nor any order;
                             * it is in preference, and in a reward model's score by reference. */
    double *preference;     /* [n*n] P(i beats j); NAN where it was not compared, 0.5 at i == j */
    gram_reward *reward;    /* [n] of a reward model; NULL otherwise */
    double *overlap;        /* [n] of PURM: u over the other responses; NULL otherwise */
    bool intransitive;      /* some i beats j beats k beats i among the preferences seen */
    bool truncated;
    size_t comparisons;     /* pairs compared */
    size_t passes;          /* sequences read: two for each comparison, one with single_order */
    size_t tokens;          /* of those sequences, each whole */
    size_t tokens_computed; /* what was really computed after sharing prefixes */
} gram_ranking;

/* A reward model reads each response once and compares nothing: whatever the method, the order is that of the rewards,
 * or of mean - lambda u where PURM is asked for it, which score holds; by reference it holds the preference over the
 * reference. passes is then n (and one for the reference), comparisons 0.
 *
 * reference is needed by GRAM_RANK_REFERENCE alone. On success clear *out with gram_ranking_clear(). */
gram_status gram_rank(gram_model *m, gram_prompt prompt, const char *const *response, size_t n,
                      gram_rank_method method, const char *reference, gram_ranking *out, gram_err *err);
void gram_ranking_clear(gram_ranking *r);

/* The methods alone, over any judge of n responses: gram_rank() is this with gram_score() behind it. compare judges
 * the pairs (i, j) it is given, all at once; j == n is the reference. A failure of compare is handed back as it is,
 * and the same answers always lead to the same questions, so a caller may stop and come back with more of them.
 * passes, tokens and truncated are summed from the verdicts; tokens_computed is left equal to tokens. */
typedef gram_status gram_compare_fn(void *arg, const size_t (*pair)[2], size_t n, gram_verdict *out, gram_err *err);
gram_status gram_rank_by(gram_compare_fn *compare, void *arg, size_t n, gram_rank_method method,
                         gram_ranking *out, gram_err *err);
/* What gram_rank() does last: responses of equal text stand together, in the order of the input, and have one score,
 * the mean of those that the method gave them. */
void gram_ranking_join(gram_ranking *r, const char *const *response, size_t n);
gram_status gram_rank_method_parse(const char *name, gram_rank_method *out, gram_err *err);

/* The other half of gram_rank(), what a reward model's ranking makes of n rewards: spread says that they are PURM's,
 * and reference, where not NULL, asks for the preferences over it. One that was dropped fails with GRAM_ELIMIT. passes,
 * tokens and truncated are summed from the rewards, the reference's with them; tokens_computed is equal to tokens.
 * temperature: gram_temperature() of the model; of preferences alone. */
gram_status gram_rank_rewards(const gram_reward *reward, size_t n, const gram_reward *reference, double lambda,
                              bool spread, double temperature, gram_ranking *out, gram_err *err);
/* Only score[n], what the order is by: the means, or of PURM mean - lambda u, and u[n] as gram_overlap() has it (a lone
 * response, whose u is NAN, loses nothing). u may be NULL without spread. */
gram_status gram_reward_scores(const gram_reward *reward, size_t n, double lambda, bool spread, double *score,
                               double *u, gram_err *err);

/* ---- What the model sees ------------------------------------------------------------------------ */

/* The rendered prompt of one order, special tokens written out; malloc'ed, free() it. Truncated and
 * refused as gram_score() would. */
gram_status gram_show_prompt(gram_model *m, const gram_pair *pair, bool swapped, char **out, gram_err *err);
/* The same as token ids; *out is malloc'ed. */
gram_status gram_show_tokens(gram_model *m, const gram_pair *pair, bool swapped,
                             int32_t **out, size_t *n, gram_err *err);

/* The conversation as the chat template renders it, up to where the assistant's answer begins; malloc'ed, free() it. */
gram_status gram_show_chat(gram_model *m, gram_prompt prompt, char **out, gram_err *err);

/* Next-token logits of T tokens, out[T*V] float32, V = gram_vocabulary(m). No BOS is added. */
size_t gram_vocabulary(const gram_model *m);
gram_status gram_logits(gram_model *m, const int32_t *token, size_t T, float *out, gram_err *err);
/* The same, into a NumPy .npy file of [T,V] float32. */
gram_status gram_logits_file(gram_model *m, const int32_t *token, size_t T, const char *path, gram_err *err);

/* The logits of n_labels token ids as the next token after each of n sequences: out[n*n_labels]. log_sum[n], where
 * not NULL, gets the log of the sum of exp over the whole vocabulary, so that out - log_sum is a log-probability.
 * Batched like gram_score(); no BOS is added. */
gram_status gram_label_logits(gram_model *m, const int32_t *const *token, const size_t *n_tokens, size_t n,
                              const int32_t *label, size_t n_labels, float *out, float *log_sum, gram_err *err);

/* ---- Taking turns -------------------------------------------------------------------------------- */

/* Lets texts be written between two pieces of a long computation, which are some milliseconds: due() is asked there by
 * the thread of the call that scores, and where it says yes that thread calls turn(), which may open, advance and close
 * writers of this model (gram/generate.h) and call nothing else of it. After a turn due() has to say no for a while, or
 * the call never ends. Where soon(), which may be NULL, says that a turn may come, pieces are as short as they can be,
 * which costs weights that are neither float32 nor int8 some of their speed (8 % of bfloat16's). Where beside(), which
 * may be NULL and is asked when due() has said yes, says yes too, one of the model's threads calls turn() and computes
 * it alone, while the others go on scoring; where the model has one thread, or a GPU, it is not asked. There is one
 * turn at a time, and none when the call returns. Scores keep their bits. turns is copied; NULL: never. Not while
 * another thread uses the model. */
typedef struct {
    bool (*due)(void *arg), (*soon)(void *arg);
    void (*turn)(void *arg);
    void *arg;
    bool (*beside)(void *arg);
} gram_turns;
void gram_set_turns(gram_model *m, const gram_turns *turns);

/* Work done since gram_open(), for speed reports. */
typedef struct {
    uint64_t sequences, tokens;     /* read, each sequence whole: what a program that shares nothing spends */
    uint64_t tokens_computed;       /* after sharing prefixes */
    double   seconds;               /* inside the forward pass */
} gram_usage;
gram_usage gram_get_usage(const gram_model *m);

/* ---- Tokenizer ---------------------------------------------------------------------------------- */

typedef struct gram_tokenizer gram_tokenizer;
/* A directory with tokenizer.json or SentencePiece's tokenizer.model (weights are not needed), or a .gguf file. */
gram_status gram_tokenizer_open(gram_tokenizer **out, const char *path, gram_err *err);
/* The same; of a LoRA adapter without a tokenizer, that of `base`, as in gram_options. */
gram_status gram_tokenizer_open_base(gram_tokenizer **out, const char *path, const char *base, gram_err *err);
void gram_tokenizer_close(gram_tokenizer *t);       /* NULL is fine */
/* The one that an opened model reads with, wherever its files are. *out is the model's: it lives until gram_close(m),
 * is not to be closed, and serves any thread while the model is at work. GRAM_EUNSUPPORTED: no tokenizer goes with the
 * weights. On failure *out is NULL. */
gram_status gram_tokenizer_of(const gram_tokenizer **out, const gram_model *m, gram_err *err);
/* The token that the checkpoint calls BOS, whether it puts it in front of texts or not; -1: none. */
int32_t gram_tokenizer_bos(const gram_tokenizer *t);
/* Adds no BOS. special: special tokens written in the text count as such. *out is malloc'ed. */
gram_status gram_tokenize(const gram_tokenizer *t, const char *text, size_t bytes, bool special,
                          int32_t **out, size_t *n, gram_err *err);
/* A text that a model goes on with: special tokens in it count as such, and the token that the checkpoint puts in front
 * of a text (BOS, where it does) stands there once. */
gram_status gram_tokenize_prompt(const gram_tokenizer *t, const char *text, size_t bytes, int32_t **out, size_t *n,
                                 gram_err *err);
/* The text of n tokens, *out malloc'ed, of *bytes bytes and a NUL; a character that they cut is U+FFFD. special:
 * special tokens are written out, and otherwise left out. GRAM_EARG: an id is none of the vocabulary. */
gram_status gram_detokenize(const gram_tokenizer *t, const int32_t *id, size_t n, bool special,
                            char **out, size_t *bytes, gram_err *err);

/* ---- Files -------------------------------------------------------------------------------------- */

/* Rows of labelled pairs, one after the other, in any of the forms that gram_score_file() reads. */
typedef struct {
    const char *id;         /* the row's own, or FILE:LINE */
    const char *subset;     /* NULL: none */
    gram_pair pair;         /* a is the chosen answer, b the rejected one */
    bool tie;               /* the data prefer neither */
} gram_row;
typedef struct gram_rows gram_rows;
bool gram_rows_named(const char *path);     /* whether files that end so are read as rows: ".jsonl", ".csv.gz", ... */
gram_status gram_rows_open(gram_rows **out, const char *path, gram_err *err);
/* columns: as in gram_file_options. */
gram_status gram_rows_open_columns(gram_rows **out, const char *path, const char *columns, gram_err *err);
/* *row lives until the next call; NULL at the end. After GRAM_EFORMAT, which names file and line, the next
 * call goes on with the following line. */
gram_status gram_rows_next(gram_rows *r, const gram_row **row, gram_err *err);
void gram_rows_close(gram_rows *r);         /* NULL is fine */

/* Called from time to time with rows done and rows in all (0: not known). Non-zero stops: what is done
 * is kept for resume and the call returns GRAM_ESTOPPED. */
typedef int gram_progress_fn(void *arg, uint64_t done, uint64_t total);
typedef struct {
    bool resume;            /* go on after the rows that the partial output of a run that was cut off holds */
    bool skip_bad;          /* count a bad row and go on, instead of failing at it */
    gram_progress_fn *progress;
    gram_warn_fn *warn;
    void *arg;              /* handed to both */
    const char *columns;    /* "prompt=question,chosen=good": what the file calls the keys of docs/formats.md, each in
                             * place of all else that would be read for the same thing; NULL: by their own names. A path
                             * with dots leads into an object. GRAM_EARG: it names a key that is not read */
    const struct gram_rationale_options *rationale;     /* gram/rationale.h: reasons before each verdict; NULL: none */
    size_t share, shares;   /* shares > 0: of the rows only those of share 0, 1, ... shares - 1, runs of lines of about
                             * equal number; the output is NAME.shard-I-of-N in place of NAME, for gram_merge_shards().
                             * With resume, a share that is whole already is checked against its rows and stays. The
                             * lines are those of a run over all rows. GRAM_EARG: of a pipe; for PURM, whose overlap
                             * is with all rows. Of an evaluation the output are its rows, of best-of-n its lines,
                             * and there are no numbers: a later run with resume and without shares takes the lines of
                             * all shares over, removes them and gives the numbers */
    size_t worker, workers; /* workers > 0: this process is number `worker`, from 0, of so many that share the rows and
                             * are called alike, on machines with one file system. Each takes the next of 8 * workers
                             * shares that none has taken; when all have ended, the last merges the shares and removes
                             * them. Where one dies, the others end well and nothing is merged: a later run with resume,
                             * of any number of processes, goes on */
    const char *run;        /* of workers: a name that no other start of them has, of letters, digits, '.', '_', '-' */
    bool *merged;           /* of workers: whether this process wrote the output; NULL: not asked */
} gram_file_options;

/* resumed: of the rows, those that were taken over from a run that was cut off. */
typedef struct { uint64_t rows, bad, dropped, truncated, resumed; gram_usage usage; double seconds; } gram_file_report;

/* Reads rows of JSON Lines (".gz" and ".zst" too; "-" is standard input), Parquet or CSV, of a file, of all files of
 * rows in a directory or of those that a pattern ("part-*.jsonl") matches, by name, in any of the forms of
 * docs/formats.md and writes one verdict a line, in the order of the input. The output appears under its name when it
 * is whole; until then its lines are in NAME.partial. opt and report may be NULL. */
gram_status gram_score_file(gram_model *m, const char *in, const char *out, const gram_file_options *opt,
                            gram_file_report *report, gram_err *err);
/* Makes `out` of the shares out.shard-0-of-N ... out.shard-(N-1)-of-N, which stay; *rows (may be NULL): its lines.
 * GRAM_EIO names the share that is missing or not whole, or two N that are both there. */
gram_status gram_merge_shards(const char *out, uint64_t *rows, gram_err *err);
/* The same for rows of a prompt and its responses: one ranking a line. */
gram_status gram_rank_file(gram_model *m, const char *in, const char *out, gram_rank_method method,
                           const gram_file_options *opt, gram_file_report *report, gram_err *err);

/* The temperature that calibrates a judge (src/eval/temperature.h), in place of the one that it has. */
typedef struct {
    uint64_t pairs;                             /* that it was found on */
    double temperature;
    double nll_before, nll_after;               /* the mean of -log of the preference for chosen */
    double ece_before, ece_after;
    double low, high;                           /* 95 % interval of the temperature: wide where the pairs are few */
} gram_temperature_fit;

typedef struct {
    gram_file_options file;
    const char *rules;      /* NULL, "rewardbench", "rewardbench2", "rm-bench", "judgebench" */
    const char *json;       /* where the numbers go as JSON; NULL: nowhere */
    const char *report_dir; /* gets index.html; NULL: no report */
    const char *rows;       /* per-row results, JSON Lines, what a resumed run reads; NULL: beside json */
    const char *fit_temperature;    /* a judge.json to write, or to write anew with all else that it says kept, with the
                             * temperature that fits these rows best; NULL: none is fitted */
    bool verdicts;          /* the table begins with a line for each row: what was asked and who won. Files are read
                             * again for it */
} gram_eval_options;

typedef struct { double value, low, high; } gram_interval;  /* a 95 % interval */
typedef struct {
    uint64_t rows, bad, dropped, truncated;
    uint64_t resumed, label_ties;               /* taken over from a run that was cut off; ties, not judged */
    gram_interval accuracy, macro_accuracy;     /* over rows; mean over files */
    gram_interval rules;                        /* the headline of the rules' own metric; NAN without rules */
    gram_interval flip_rate, first_seat_rate;   /* orders disagree; the first seat wins */
    double ece, longer_baseline;                /* expected calibration error; accuracy of "the longer wins" */
    double seconds, tokens_per_s, pairs_per_s;
    gram_temperature_fit fit;                   /* pairs 0: none was asked for */
} gram_eval_summary;
/* Accuracy and agreement on labelled sets; table_out, where not NULL, gets a malloc'ed text table. */
gram_status gram_eval(gram_model *m, const char *const *file, size_t n, const gram_eval_options *opt,
                      gram_eval_summary *out, char **table_out, gram_err *err);

/* The same over every file of rows in a folder, each benchmark (RewardBench 1 and 2, RM-Bench, JudgeBench: told by
 * their rows) by its own rules, all else as the user's own sets. opt->report_dir gets index.html with all of them and a
 * folder for each with its page, numbers.json and rows; opt->json a summary; opt->rules, opt->rows and opt->verdicts
 * are not taken. */
gram_status gram_eval_folder(gram_model *m, const char *folder, const gram_eval_options *opt, char **table_out,
                             gram_err *err);

typedef struct {
    uint64_t rows;                              /* that both judged */
    uint64_t only_a, only_b;                    /* of them: one judge right and the other not, or more nearly so */
    uint64_t alone_a, alone_b, dropped;         /* left out: in one run alone; too long for one of them */
    gram_interval difference;                   /* accuracy of b - accuracy of a, paired; see docs/eval.md */
    gram_interval macro_difference;             /* mean over files */
} gram_eval_comparison;
/* Which of two judges is better on the rows that both judged. a, b: the rows of two runs of gram_eval(), or the JSON or
 * the report's folder beside which they stand. json, rows: where the numbers and the rows that differ go, NULL:
 * nowhere. out and table_out may be NULL; *table_out is malloc'ed. */
gram_status gram_eval_compare(const char *a, const char *b, const char *json, const char *rows,
                              gram_eval_comparison *out, char **table_out, gram_err *err);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
