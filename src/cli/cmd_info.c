/* cmd_info.c - `gram info`: what a model is, without loading it. */
#include <inttypes.h>
#include <string.h>
#include "cli/cli.h"

static const struct poptOption opts[] = {
    CLI_INCLUDE(cli_engine_table, "Engine options, for the memory it will need:"),
    CLI_TABLE_END
};

static void line(const char *key, const char *value)
{
    printf("%-14s%s\n", key, value);
}

static void print_types(const gram_info *i)
{
    char bytes[32];

    for (size_t t = 0; t < i->types; t++) {
        cli_bytes(bytes, (double)i->type[t].bytes);
        printf("%-14s%zu %s, %s\n", t ? "" : "tensors", i->type[t].count, i->type[t].name, bytes);
    }
}

enum { GPUS = 16 };

static void print_gpus(void)
{
    gram_gpu gpu[GPUS];
    gram_err why;
    size_t n = gram_gpus(gpu, GPUS, &why);
    char all[32], left[32], name[16];

    for (size_t i = 0; i < n && i < GPUS; i++) {
        snprintf(name, sizeof name, "cuda:%zu", i);
        cli_bytes(all, (double)gpu[i].bytes);
        cli_bytes(left, (double)gpu[i].free_bytes);
        printf("%-14s%s, compute capability %d.%d, %s of memory, %s free\n", name, gpu[i].name, gpu[i].major,
               gpu[i].minor, all, left);
    }
    if (n == 0)
        printf("%-14snone: %s\n", "GPU", why.text);
}

static int run(const char **arg, size_t n)
{
    gram_options o;
    gram_info i;
    gram_err err;
    char a[32], b[32];
    int rc = cli_model_options(&o);

    if (rc)
        return rc;
    if (gram_inspect(n ? arg[0] : NULL, &o, &i, &err))
        return cli_fail_err(&err);
    cli_bytes(a, (double)i.file_bytes);
    printf("%-14s%s\n%-14s%s, %s\n", "model", i.path, "format", i.format, a);
    if (*i.judge)
        line("judge", i.judge);
    if (i.temperature > 0)
        printf("%-14s%g, from judge.json\n", "temperature", i.temperature);
    if (i.adapter_rank)
        printf("%-14sLoRA, rank %zu, alpha %g, %" PRIu64 " parameters\n%-14s%s\n", "adapter", i.adapter_rank,
               i.adapter_alpha, i.adapter_parameters, "base", i.base);
    line("architecture", i.architecture);
    printf("%-14s%" PRIu64 " (%.1f million)\n", "parameters", i.parameters, (double)i.parameters / 1e6);
    printf("%-14s%zu layers, width %zu, feed-forward %zu\n", "shape", i.layers, i.width, i.hidden);
    if (i.experts)
        printf("%-14s%zu of %zu for each token, feed-forward %zu, in %zu of the layers\n", "experts", i.experts_chosen,
               i.experts, i.expert_hidden, i.expert_layers);
    printf("%-14s%zu query heads, %zu key/value heads, %zu wide", "attention", i.heads, i.kv_heads, i.head_dim);
    printf("\n%-14s%zu tokens\n", "context", i.context);
    for (size_t k = 0; k < i.facts; k++)
        line(i.fact[k].name, i.fact[k].value);
    printf("%-14s%zu tokens, %s, %s head\n", "vocabulary", i.vocabulary, i.tokenizer ? i.tokenizer : "no tokenizer",
           i.tied_head ? "tied" : "untied");
    if (strcmp(i.head, "vocabulary"))
        printf("%-14s%s%s%s\n", "head", !strcmp(i.head, "purm") ? "PURM: a reward's mean and spread" : "one reward",
               *i.head_name ? ", " : "", i.head_name);
    line("chat template", i.chat_template ? i.chat_template : "not recognised: name one with --template");
    print_types(&i);
    cli_bytes(a, (double)i.weight_bytes);
    cli_bytes(b, (double)i.work_bytes);
    printf("%-14s%s of weights and %s to work in\n", "memory", a, b);
    line("processor", i.cpu);
    line("arithmetic", i.arithmetic);
    print_gpus();
    return CLI_DONE;
}

const cli_command cli_info = {
    "info", "[MODEL]", "Say what a model is and what memory it will need",
    "MODEL is a Hugging Face directory, a LoRA adapter's, or a .gguf file. Prints its architecture, parameters, tensor "
    "types, context, tokenizer and chat template, the temperature of a calibrated judge, the memory that scoring "
    "with it will take, and the GPUs of this machine. Without MODEL it is the judge that comes with gram.",
    "gram info SmolLM2-135M-Instruct.Q4_1.gguf\ngram info ./my-model --dtype int8",
    0, 1, opts, run
};
