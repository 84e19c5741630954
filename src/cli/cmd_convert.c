/* cmd_convert.c - `gram convert`: a model in another format or another type. */
#include <string.h>
#include "cli/cli.h"
#include "gram/convert.h"

static char *out, *dtype;

static const struct poptOption opts[] = {
    { "out", 'o', POPT_ARG_STRING, &out, 0,
      "Write OUT: a GGUF file if its name ends in .gguf, otherwise a Hugging Face directory.", "OUT" },
    { "dtype", 'd', POPT_ARG_STRING, &dtype, 0,
      "Store matrices as f32 (the default: every weight as it is), bf16 or f16; in a GGUF also in blocks of 32 with 8, "
      "5 or 4 bits a weight. int8, in a directory: as `--dtype int8` of the other commands holds them; gram alone "
      "reads it, and opens it at once.", "f32|bf16|f16|q8_0|q5_1|q5_0|q4_1|q4_0|int8" },
    { "quiet", 'q', POPT_ARG_NONE, &cli_quiet, 0, "Say nothing but errors.", NULL },
    CLI_TABLE_END
};

static void on_note(void *arg, const char *text)
{
    (void)arg;
    if (!cli_quiet)
        fprintf(stderr, "%s\n", text);
}

static int run(const char **arg, size_t n)
{
    gram_convert_options o = { .note = on_note };
    gram_convert_report r;
    char bytes[32];
    gram_err err;
    int as = cli_choice("dtype", dtype, opts[1].argDescrip);

    (void)n;
    if (as < 0)
        return CLI_USAGE;
    if (!out)
        return cli_usage("--out is missing: the file or directory that the model goes to");
    o.dtype = (gram_store)as;                   /* the enum is in the order of the words */
    if (gram_convert(arg[0], out, &o, &r, &err))
        return cli_fail_err(&err);
    cli_bytes(bytes, (double)r.bytes);
    if (!cli_quiet)
        fprintf(stderr, "%s: %llu tensors, %s\n", out, (unsigned long long)r.tensors, bytes);
    return CLI_DONE;
}

const cli_command cli_convert = {
    "convert", "MODEL", "Write a model in another format or another type",
    "MODEL is a Hugging Face directory or a .gguf file, and so is OUT. A directory gets model.safetensors, config.json "
    "and the files of the tokenizer, and transformers loads it; a GGUF is one that llama.cpp loads. Weights are copied "
    "row by row, so memory does not grow with the model. In f32 every weight is what it was.\n\n"
    "What the other format has no form for is refused in one sentence: a tokenizer that GGUF has no name for, a head "
    "that llama.cpp does not compute. What was written is opened again and compared before the command ends.",
    "gram convert ./judge --out judge.gguf --dtype q8_0\n"
    "gram convert SmolLM2-135M-Instruct.Q4_1.gguf --out smollm2/\n"
    "gram convert ./judge --out ./judge-int8 --dtype int8",
    1, 1, opts, run
};
