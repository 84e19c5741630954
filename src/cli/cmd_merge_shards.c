/* cmd_merge_shards.c - `gram merge-shards`: the outputs of runs over a share of the rows each become one. */
#include <stdio.h>
#include "cli/cli.h"

static int run(const char **arg, size_t n)
{
    gram_err err;
    uint64_t rows;

    (void)n;
    if (gram_merge_shards(arg[0], &rows, &err))
        return cli_fail_err(&err);
    fprintf(stderr, "%s: %llu lines\n", arg[0], (unsigned long long)rows);
    return CLI_DONE;
}

static const struct poptOption opts[] = { CLI_TABLE_END };

const cli_command cli_merge_shards = {
    "merge-shards", "OUT", "Join the outputs of runs with --shard",
    "OUT is what the runs were given as --out. Their files OUT.shard-0-of-N, OUT.shard-1-of-N, ... are joined to OUT, "
    "which has the bytes of one run over all rows, and appears when it is whole. A shard that is missing or not whole "
    "yet is named and nothing is written. The shards stay.",
    "for i in 0 1 2 3; do gram score model.gguf pairs.jsonl -o v.jsonl --shard $i/4; done\n"
    "gram merge-shards v.jsonl",
    1, 1, opts, run
};
