/* bon.c - write n answers to a question and print the one that a judge prefers.
 *
 *     cc bon.c $(pkg-config --cflags --libs gram) -o bon
 *     ./bon POLICY JUDGE 8 "Why is the sky blue?"
 *
 * JUDGE is a model, http://HOST:PORT of a gram serve, or exec:COMMAND.                             */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <gram/bon.h>

static char *answer[GRAM_ANSWERS_MOST];

static int keep(void *arg, const gram_answer *a)
{
    (void)arg;
    if (a->finish == GRAM_FINISH_FAILED)
        fprintf(stderr, "bon: %s\n", a->error);
    else
        answer[a->k] = strdup(a->text);
    return !answer[a->k];
}

/* The largest reward; a response that could not be judged has none. */
static void print_best(const gram_judged_group *r)
{
    size_t best = r->n;

    for (size_t i = 0; i < r->n; i++)
        if (r->error[i])
            fprintf(stderr, "answer %zu: %s\n", i, r->error[i]);
        else if (best == r->n || r->reward[i] > r->reward[best])
            best = i;
    if (best < r->n)
        printf("reward %.4f, the best of %zu:\n%s\n", r->reward[best], r->n, answer[best]);
}

int main(int argc, char **argv)
{
    gram_message question = { .role = "user" };
    const gram_prompt prompt = { .turn = &question, .n = 1 };
    gram_group group = { .prompt = prompt, .response = (const char *const *)answer };
    gram_generation settings;
    gram_judged_group result;
    gram_model *policy;
    gram_judge *judge;
    gram_err err;

    if (argc != 5) {
        fprintf(stderr, "usage: bon POLICY JUDGE N QUESTION\n");
        return 2;
    }
    question.content = argv[4];
    gram_generation_init(&settings);
    settings.n = group.n = strtoul(argv[3], NULL, 10);
    settings.max_new_tokens = 64;
    if (gram_open(&policy, argv[1], NULL, &err) || gram_judge_open(&judge, argv[2], NULL, &err) ||
        gram_generate(policy, &prompt, 1, &settings, keep, NULL, &err) ||
        gram_judge_group(judge, &group, &result, &err)) {
        fprintf(stderr, "bon: %s\n", err.text);
        return 1;           /* the system frees what was opened */
    }
    print_best(&result);
    gram_judged_group_clear(&result);
    for (size_t i = 0; i < group.n; i++)
        free(answer[i]);
    gram_judge_close(judge);
    gram_close(policy);
    return 0;
}
