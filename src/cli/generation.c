/* generation.c - the options of how answers are written, for the commands that write some. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "cli/generation.h"

#define NEW_TOKENS 256          /* said, like every other setting */

static char **stop, *stop_ids, *products;
static int greedy, from_config;
static gram_generation set;     /* what the options say */
static long long top_k, min_new, max_new, seed, speculate;
long long cli_answers;

enum { TEMPERATURE = CLI_ANSWERS + 1, TOP_K, TOP_P, MIN_P, REPETITION, PRESENCE, FREQUENCY, MIN_NEW, MAX_NEW, SEED,
       SPECULATE, PRODUCTS };

struct poptOption cli_generation_table[] = {
    { "greedy", '\0', POPT_ARG_NONE, &greedy, 0, "Always take the likeliest token: --temperature 0.", NULL },
    { "temperature", 'T', POPT_ARG_DOUBLE, &set.temperature, TEMPERATURE,
      "Divide the logits by X before a token is drawn (default: 1).", "X" },
    { "top-k", '\0', POPT_ARG_LONGLONG, &top_k, TOP_K, "Draw from the N likeliest tokens (default: 0, from all).",
     "N" },
    { "top-p", '\0', POPT_ARG_DOUBLE, &set.top_p, TOP_P,
      "Draw from the likeliest tokens that have the mass X together (default: 1).", "X" },
    { "min-p", '\0', POPT_ARG_DOUBLE, &set.min_p, MIN_P,
      "Draw from tokens that have X times the likeliest one's probability at least (default: 0).", "X" },
    { "repetition-penalty", '\0', POPT_ARG_DOUBLE, &set.repetition_penalty, REPETITION,
      "Divide the positive logits of tokens of prompt and answer by X, and multiply the negative ones (default: 1).",
      "X" },
    { "presence-penalty", '\0', POPT_ARG_DOUBLE, &set.presence_penalty, PRESENCE,
      "Take X from the logits of tokens that the answer has (default: 0).", "X" },
    { "frequency-penalty", '\0', POPT_ARG_DOUBLE, &set.frequency_penalty, FREQUENCY,
      "Take X from a token's logit for each time that the answer has it (default: 0).", "X" },
    { "min-new-tokens", '\0', POPT_ARG_LONGLONG, &min_new, MIN_NEW,
      "Let no token end an answer before it has N (default: 0); a text of --stop cuts it sooner.", "N" },
    { "max-new-tokens", '\0', POPT_ARG_LONGLONG, &max_new, MAX_NEW,
      "Cut an answer at N tokens, its end among them (default: 256). Answers that were cut are counted.", "N" },
    { "stop", '\0', POPT_ARG_ARGV, &stop, 0, "Cut an answer where TEXT begins; may be given several times.", "TEXT" },
    { "stop-ids", '\0', POPT_ARG_STRING, &stop_ids, 0,
      "Tokens that end an answer besides the model's own, as in 13,198.", "ID,ID,..." },
    { "seed", 's', POPT_ARG_LONGLONG, &seed, SEED,
      "Of the draws (default: 0). Answer k of prompt i has the seed N + i n + k, by which it can be written alone.",
      "N" },
    { "from-config", '\0', POPT_ARG_NONE, &from_config, 0,
      "Take the settings that are not given from MODEL's generation_config.json, as transformers does. Without this "
      "nothing is taken from there but the tokens that end an answer.", NULL },
    { "products", '\0', POPT_ARG_STRING, &products, PRODUCTS,
      "How products are made: few (each weight read once for a handful of answers), tiles (96 rows at once, as scoring "
      "does) or auto (default: by the number of answers of the run; each line says which). An answer has the same bits "
      "in any company with the one or with the other.", "HOW" },
    { "speculate", '\0', POPT_ARG_LONGLONG, &speculate, SPECULATE,
      "While few answers are written, guess up to N tokens from what stands earlier in prompt and answer, and check "
      "them together, at most 16 (default: 0). Changes no token and no log-probability, only speed.", "N" },
    CLI_TABLE_END
};

static int read_ids(gram_generation *g)
{
    static gr_ids ids;          /* borrowed by *g */
    const char *p = stop_ids;

    while (p) {
        char *end;
        long id;
        errno = 0;
        id = strtol(p, &end, 10);
        if (end == p || errno || id < 0 || id > INT32_MAX || (*end && *end != ','))
            return cli_usage("--stop-ids %s: wanted token ids with commas between them", stop_ids);
        if (!gr_ids_add(&ids, &(int32_t){ (int32_t)id }, 1))
            return cli_fail("out of memory");
        p = *end ? end + 1 : NULL;
    }
    g->stop_ids = ids.p;
    g->n_stop_ids = ids.n;
    return CLI_DONE;
}

/* A whole number that was given, in the place of what *to holds. */
static int whole(const char *name, int which, long long x, size_t *to)
{
    if (!cli_given[which])
        return CLI_DONE;
    if (x < 0)
        return cli_usage("--%s: wanted a whole number that is not negative, found %lld", name, x);
    *to = (size_t)x;
    return CLI_DONE;
}

static int read_products(gram_generation *g)
{
    for (gram_products p = GRAM_PRODUCTS_AUTO; products && p <= GRAM_PRODUCTS_TILES; p++)
        if (!strcmp(products, gram_products_name(p))) {
            g->products = p;
            return CLI_DONE;
        }
    return products ? cli_usage("--products %s: wanted auto, few or tiles", products) : CLI_DONE;
}

int cli_generation(gram_generation *g, const char *model, size_t answers)
{
    double *const to[] = { &g->temperature, &g->top_p, &g->min_p, &g->repetition_penalty, &g->presence_penalty,
                           &g->frequency_penalty };
    const double *const from[] = { &set.temperature, &set.top_p, &set.min_p, &set.repetition_penalty,
                                   &set.presence_penalty, &set.frequency_penalty };
    static const int which[] = { TEMPERATURE, TOP_P, MIN_P, REPETITION, PRESENCE, FREQUENCY };
    char *what = NULL;
    gram_err err;
    size_t s = 0;
    int rc = CLI_DONE;

    gram_generation_init(g);
    g->max_new_tokens = NEW_TOKENS;
    g->n = answers;
    if (from_config && gram_generation_from_config(g, model, &what, &err))
        return cli_fail_err(&err);
    if (what && !cli_quiet)
        fprintf(stderr, "from generation_config.json: %s\n", what);
    free(what);
    for (size_t i = 0; i < GR_COUNT(which); i++)
        if (cli_given[which[i]])
            *to[i] = *from[i];
    if (greedy && cli_given[TEMPERATURE] && set.temperature != 0)
        return cli_usage("--greedy is --temperature 0, and --temperature %g is given too", set.temperature);
    if (greedy)
        g->temperature = 0;
    if ((rc = whole("top-k", TOP_K, top_k, &g->top_k)) || (rc = whole("n", CLI_ANSWERS, cli_answers, &g->n)) ||
        (rc = whole("min-new-tokens", MIN_NEW, min_new, &g->min_new_tokens)) ||
        (rc = whole("max-new-tokens", MAX_NEW, max_new, &g->max_new_tokens)) || (rc = whole("seed", SEED, seed, &s)) ||
        (rc = whole("speculate", SPECULATE, speculate, &g->speculate)) || (rc = read_ids(g)) || (rc = read_products(g)))
        return rc;
    g->seed = s;
    g->stop = (const char *const *)stop;
    while (stop && stop[g->n_stop])
        g->n_stop++;
    return gram_generation_check(g, &err) ? cli_usage("%s", err.text) : CLI_DONE;
}

static const char *origin(int which)
{
    return cli_given[which] ? "given" : from_config ? "as above, or the default" : "default";
}

int cli_say_generation(gram_model *m, const gram_generation *g)
{
    gram_err err;
    int32_t *id;
    size_t ids;

    if (cli_quiet)
        return CLI_DONE;
    if (gram_end_ids(m, &id, &ids, &err))
        return cli_fail_err(&err);
    fprintf(stderr, "n %zu (%s), seed %llu (%s), max-new-tokens %zu (%s), min-new-tokens %zu (%s)\n", g->n,
            origin(CLI_ANSWERS),
            (unsigned long long)g->seed, origin(SEED), g->max_new_tokens, origin(MAX_NEW), g->min_new_tokens,
            origin(MIN_NEW));
    if (g->temperature == 0)
        fprintf(stderr, "greedy (%s): the likeliest token, always%s\n", greedy ? "given" : origin(TEMPERATURE),
                g->n > 1 ? ", so that all answers to a prompt are the same" : "");
    else
        fprintf(stderr, "temperature %g (%s), top-k %zu (%s), top-p %g (%s), min-p %g (%s)\n", g->temperature,
                origin(TEMPERATURE), g->top_k, origin(TOP_K), g->top_p, origin(TOP_P), g->min_p, origin(MIN_P));
    fprintf(stderr, "repetition-penalty %g (%s), presence-penalty %g (%s), frequency-penalty %g (%s)\nends: tokens",
            g->repetition_penalty, origin(REPETITION), g->presence_penalty, origin(PRESENCE), g->frequency_penalty,
            origin(FREQUENCY));
    for (size_t i = 0; i < ids; i++)
        fprintf(stderr, "%s %d", i ? "," : "", (int)id[i]);
    fprintf(stderr, " (of the model and its chat template)");
    for (size_t i = 0; i < g->n_stop_ids; i++)
        fprintf(stderr, ", %d (given)", (int)g->stop_ids[i]);
    if (g->n_stop)
        fprintf(stderr, "; %zu stop string%s (given)", g->n_stop, g->n_stop == 1 ? "" : "s");
    fprintf(stderr, "\nproducts %s (%s), %s, speculate %zu (%s)\n", gram_products_name(g->products), origin(PRODUCTS),
            gram_arithmetic(m), g->speculate, origin(SPECULATE));
    free(id);
    return CLI_DONE;
}

gram_options cli_writer_options(const gram_options *all, const char *chat_template)
{
    return (gram_options){ .threads = all->threads, .device = all->device, .dtype = all->dtype,
                          .batch_tokens = all->batch_tokens,
                           .note = all->note, .note_arg = all->note_arg, .chat_template = chat_template };
}

const char *cli_generation_given(void)
{
    const struct poptOption *o = cli_generation_table;

    for (; o->longName; o++)
        if (o->val ? cli_given[o->val] : (o->argInfo & POPT_ARG_MASK) == POPT_ARG_NONE ? *(const int *)o->arg != 0
                                                                                       : *(void *const *)o->arg != NULL)
            return o->longName;
    return NULL;
}
