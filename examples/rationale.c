/* rationale.c - judge two answers by written reasons, and show them.
 *
 *     cc rationale.c $(pkg-config --cflags --libs gram) -o rationale
 *     ./rationale MODEL "Why is the sky blue?" "Rayleigh scattering." "It is painted."             */
#include <stdio.h>
#include <gram/rationale.h>

int main(int argc, char **argv)
{
    gram_message question = { .role = "user" };
    gram_pair pair = { .prompt = { .turn = &question, .n = 1 } };
    gram_rationale_options options;
    gram_reasoner *judge;
    gram_reasoned v;
    gram_model *model;
    gram_err err;
    size_t bad;

    if (argc != 5) {
        fprintf(stderr, "usage: rationale MODEL QUESTION ANSWER_1 ANSWER_2\n");
        return 2;
    }
    question.content = argv[2];
    pair.a = argv[3];
    pair.b = argv[4];
    gram_rationale_options_init(&options);
    options.votes = 4;
    options.max_tokens = 200;
    if (gram_open(&model, argv[1], NULL, &err) || gram_reasoner_open(&judge, model, &options, &err) ||
        gram_reason(judge, &pair, 1, &v, &bad, &err)) {
        fprintf(stderr, "rationale: %s\n", err.text);
        return 1;           /* the system frees what was opened */
    }
    for (size_t i = 0; i < v.n; i++)
        printf("---- %s answer first, %s, %.3f for the first answer\n%s\n", v.rationale[i].swapped ? "second" : "first",
               gram_rationale_status_name(v.rationale[i].status), v.rationale[i].p, v.rationale[i].text);
    printf("The first answer is better with probability %.3f (standard error %.3f; votes %zu to %zu).\n",
           v.verdict.preference, v.error, v.votes[0], v.votes[1]);
    gram_reasoned_clear(&v);
    gram_reasoner_close(judge);
    gram_close(model);
    return 0;
}
