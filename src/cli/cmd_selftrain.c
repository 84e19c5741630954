/* cmd_selftrain.c - `gram selftrain`: every stage of GRAM-R2's self-training, as a recipe has it. */
#include <math.h>
#include <string.h>
#include "cli/cli.h"
#include "gram/selftrain.h"

static const struct poptOption opts[] = {
    CLI_INCLUDE(cli_recipe_table, NULL),
    { "quiet", 'q', POPT_ARG_NONE, &cli_quiet, 0, "Say nothing but errors.", NULL },
    CLI_TABLE_END
};

static int print_keys(void)
{
    const char *name, *wanted, *help;

    for (size_t i = 0; (name = gram_selftrain_key(i, &wanted, &help)); i++)
        printf("%-20s %-36s %s\n", name, wanted, help ? help : "");
    return CLI_DONE;
}

/* ---- Progress ------------------------------------------------------------------------------------- */

/* "[3/17] round 1 of 2, round-1/votes.jsonl" */
static void say_stage(const gram_selftrain_progress *p)
{
    fprintf(stderr, "[%zu/%zu] ", p->number, p->stages);
    if (p->round && p->round <= p->rounds)
        fprintf(stderr, "round %zu of %zu, ", p->round, p->rounds);
    fprintf(stderr, "%s", p->stage);
}

static void say_numbers(const gram_selftrain_progress *p)
{
    char left[24];

    fprintf(stderr, ": %llu", (unsigned long long)p->done);
    if (p->total)
        fprintf(stderr, " of %llu", (unsigned long long)p->total);
    fprintf(stderr, " %s", p->unit);
    if (!isnan(p->loss))
        fprintf(stderr, ", loss %.4f", p->loss);
    if (!isnan(p->tokens_per_s))
        fprintf(stderr, ", %.0f tokens/s", p->tokens_per_s);
    if (!isnan(p->left) && p->left > 0) {
        cli_clock(left, p->left);
        fprintf(stderr, ", %s left", left);
    }
}

/* Where stderr is no terminal: a line for each tenth of a stage. */
static bool is_told(cli_progress *c, const gram_selftrain_progress *p)
{
    static uint64_t tenth;
    uint64_t now = p->total ? p->done * 10 / p->total : 0;
    bool told = p->begins || p->ended || (c->terminal ? gr_now() - c->shown >= 0.2 : now != tenth);

    tenth = now;
    return told;
}

static int on_progress(void *arg, const gram_selftrain_progress *p)
{
    cli_progress *c = arg;

    if (!p->stage || cli_quiet || !is_told(c, p))
        return cli_stopping();
    cli_clear_line(c);
    say_stage(p);
    if (p->ended) {
        char spent[24];
        cli_clock(spent, p->seconds);
        fprintf(stderr, ": done in %s", spent);
    } else if (p->begins) {
        fputs(p->skipped ? ": whole already" : "", stderr);
    } else {
        say_numbers(p);
    }
    c->drawn = c->terminal && !p->begins && !p->ended;
    if (!c->drawn)
        fputc('\n', stderr);
    fflush(stderr);
    c->shown = gr_now();
    return cli_stopping();
}

static void on_note(void *arg, const char *text)
{
    char shown[2048];

    cli_clear_line(arg);
    if (!cli_quiet)
        fprintf(stderr, "%s\n", cli_dashes(text, shown, sizeof shown));
}

/* ---- Numbers -------------------------------------------------------------------------------------- */

static void print_share(uint64_t part, uint64_t of)
{
    if (of)
        printf(" %6.1f %%", 100 * (double)part / (double)of);
    else
        printf(" %8s", "-");
}

static void print_accuracy(gram_interval v)
{
    if (isnan(v.value))
        puts("  -");
    else
        printf("  %.1f %% (%.1f to %.1f)\n", 100 * v.value, 100 * v.low, 100 * v.high);
}

static void print_rules(const gram_voted_labels *l)
{
    printf("    %-12s %8s %8s %8s\n", "rule", "broke", "dropped", "right");
    for (int i = 0; i < GRAM_RULES; i++) {
        printf("    %-12s %8llu %8llu", gram_rule_name((gram_rule)i), (unsigned long long)l->broke[i],
               (unsigned long long)l->dropped[i].n);
        print_share(l->dropped[i].right, l->dropped[i].known);
        putchar('\n');
    }
    printf("    %-12s %8s %8llu", "all dropped", "", (unsigned long long)l->lost.n);
    print_share(l->lost.right, l->lost.known);
    printf("\n    %-12s %8s %8llu", "kept", "", (unsigned long long)l->kept.n);
    print_share(l->kept.right, l->kept.known);
    putchar('\n');
}

static void print_report(const gram_selftrain_report *r)
{
    for (size_t i = 0; i <= r->rounds; i++) {
        const gram_selftrain_round *n = &r->round[i];
        if (i)
            printf("round %zu: %llu pairs, %llu labels kept, %llu proved; accuracy on held-out pairs", i,
                   (unsigned long long)n->labels.pairs, (unsigned long long)n->labels.kept.n,
                   (unsigned long long)n->proved);
        else
            printf("round 0: %llu labelled pairs, %llu proved; accuracy on held-out pairs", (unsigned long long)n->rows,
                   (unsigned long long)n->proved);
        print_accuracy(n->accuracy);
        if (i)
            print_rules(&n->labels);
    }
    if (!isnan(r->final.value)) {
        printf("final: accuracy on held-out pairs");
        print_accuracy(r->final);
    }
    printf("%s\n", r->judge);
}

static int run_recipe(const gram_selftrain_options *o)
{
    cli_progress p;
    gram_selftrain_report report = { .rounds = 0 };
    const gram_selftrain_calls calls = { on_progress, on_note, cli_warn_fn, &p };
    gram_err err;
    gram_status rc;

    cli_progress_start(&p, NULL, "rows");
    rc = gram_selftrain(o, &calls, &report, &err);
    cli_progress_end(&p);
    if (rc == GRAM_ESTOPPED)
        return cli_fail("stopped; what is done is in %s, and the same command goes on", o->out);
    if (rc)
        return cli_fail_err(&err);
    print_report(&report);
    gram_selftrain_report_clear(&report);
    return CLI_DONE;
}

static int run(const char **arg, size_t n)
{
    gram_selftrain_recipe *r;
    const char *const *set;
    gram_err err;
    size_t n_set;
    int rc = cli_keys ? print_keys() : cli_recipe_set(n, &set, &n_set);

    if (rc || cli_keys)
        return rc;
    if (gram_selftrain_recipe_open(&r, arg[0], set, n_set, &err))
        return cli_fail_err(&err);
    rc = run_recipe(gram_selftrain_recipe_options(r));
    gram_selftrain_recipe_close(r);
    return rc;
}

const cli_command cli_selftrain = {
    "selftrain", "RECIPE.yaml", "Train a judge that writes its reasons on pairs that nobody labelled (GRAM-R2)",
    "Runs all stages of GRAM-R2's self-training: a prover learns from people's reasons, proves labelled pairs, a first "
    "judge learns the proofs, and in each round the judge votes on new pairs, rules drop the votes that cannot be "
    "relied on, the prover proves the others and a new judge learns all of it from the same start; the last one is "
    "tuned on people's reasons. Each round's table says what every rule dropped, and how often dropped and kept votes "
    "were right where the data have labels.\n\n"
    "Every stage leaves its output below the recipe's `out`, under its name when it is whole, with a record of what it "
    "was made from. The same command after a stop or a crash goes on where it was and ends with the same bytes; where "
    "the recipe or a file has changed, it says which key and ends.",
    "gram selftrain recipes/selftrain.yaml --set model=BASE --set human=helpsteer3.jsonl \\\n"
    "    --set labelled=pairs.jsonl --set unlabelled=groups.jsonl --set eval=heldout.jsonl --set out=run/\n"
    "gram selftrain --keys",
    0, 1, opts, run
};
