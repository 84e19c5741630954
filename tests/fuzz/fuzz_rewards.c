/* fuzz_rewards.c - what judges and earlier runs say: a program's line, a server's answer to two pairs, a line of `gram
 * bon`. A response has a finite reward or a reason for none, and nothing else ever. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "api/bon_int.h"
#include "api/judge_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void program_line(const gram_judge *j, gr_str line)
{
    gram_judged_group g;
    gram_err err;

    if (gr_judged_group_init(&g, 2, false, NULL))
        abort();
    if (!gr_judge_program_line(j, 1, line, &g, &err) && isfinite(g.reward[1]) == !!g.error[1])
        abort();
    if (isfinite(g.reward[0]) || g.error[0])
        abort();
    gram_judged_group_clear(&g);
}

static void server_answer(const gram_judge *j, gr_str text)
{
    gram_verdict v[2];
    char *fault[2] = { NULL, NULL };
    json_t *o = json_loadb(text.p, text.n, 0, NULL);
    gram_err err;

    if (!gr_judge_server_read(j, o, 2, v, fault, &err))
        for (size_t k = 0; k < 2; k++)                  /* a reason is the server's own, or says that there is none */
            if (fault[k] && strlen(fault[k]) > text.n + 40)
                abort();
    free(fault[0]);
    free(fault[1]);
    json_decref(o);
}

static void earlier_line(gr_str text)
{
    const uint64_t seed = 3;
    const gr_bon_expected e = { 2, &seed, true };
    json_t *o = json_loadb(text.p, text.n, 0, NULL);
    gr_bon b = { .gold = true };
    gram_bon_curve c;
    gram_err err;

    if (!gr_bon_check(o, &e, "file", 1, &err) && !gr_bon_take(&b, o, &err) && !gr_bon_curve(&b, 0, &c, &err) &&
        c.prompts + c.left_out != 1)
        abort();
    gr_bon_clear(&b);
    json_decref(o);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const gram_judge j = { .url = (char[]){ "http://there" }, .about = (char[]){ "a judge" } };
    const gr_str text = { (const char *)data, size };

    if (!memchr(data, '\n', size))
        program_line(&j, text);
    server_answer(&j, text);
    earlier_line(text);
    return 0;
}
