/* cmd_merge.c - `gram merge`: a LoRA adapter becomes a model of its own. */
#include "cli/cli.h"
#include "gram/train.h"

static char *out, *base, *dtype;

static const struct poptOption opts[] = {
    { "out", 'o', POPT_ARG_STRING, &out, 0, "Write the model to the directory DIR.", "DIR" },
    { "dtype", 'd', POPT_ARG_STRING, &dtype, 0, "Write weights as f32 (the default), or rounded to bf16.", "f32|bf16" },
    { "base", '\0', POPT_ARG_STRING, &base, 0, "Where the base model is (default: where the adapter says).", "PATH" },
    CLI_TABLE_END
};

static int run(const char **arg, size_t n)
{
    gram_options o;
    gram_info about;
    gram_err err;
    int as, rc;

    (void)n;
    if (!out)
        return cli_usage("--out is missing: the directory that the model goes to");
    as = cli_choice("dtype", dtype, opts[1].argDescrip);
    if (as < 0)
        return CLI_USAGE;
    rc = cli_model_options(&o);
    o.base = base;
    if (!rc && gram_inspect(arg[0], &o, &about, &err))          /* what the files have to say is said */
        return cli_fail_err(&err);
    if (rc)
        return rc;
    return gram_merge(arg[0], base, out, (gram_dtype)as, &err) ? cli_fail_err(&err) : CLI_DONE;
}

const cli_command cli_merge = {
    "merge", "ADAPTER", "Add a LoRA adapter to its base model",
    "ADAPTER is a directory that `gram finetune --lora-rank` or PEFT wrote. What comes out is a Hugging Face "
    "directory, W + alpha / rank B A for each matrix W that has an adapter, which needs neither any more. It is "
    "written row by row, in little memory. Where MODEL is asked for, an adapter will do as well; merging is for other "
    "programs.",
    "gram merge judge-lora/ --out judge/\n"
    "gram merge judge-lora/ --base ./SmolLM2-135M-Instruct --out judge/",
    1, 1, opts, run
};
