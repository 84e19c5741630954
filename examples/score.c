/* score.c - judge two answers to one question.
 *
 *     cc score.c $(pkg-config --cflags --libs gram) -o score
 *     ./score MODEL "Why is the sky blue?" "Rayleigh scattering." "It is painted."
 *
 * Without MODEL the judge that comes with gram decides, over the base that `gram fetch` gets.      */
#include <stdio.h>
#include <gram/gram.h>

int main(int argc, char **argv)
{
    gram_message question = { .role = "user" };
    gram_pair pair = { .prompt = { .turn = &question, .n = 1 } };
    gram_model *model;
    gram_verdict v;
    gram_err err;

    if (argc != 4 && argc != 5) {
        fprintf(stderr, "usage: score [MODEL] QUESTION ANSWER_1 ANSWER_2\n");
        return 2;
    }
    question.content = argv[argc - 3];
    pair.a = argv[argc - 2];
    pair.b = argv[argc - 1];
    if (gram_open(&model, argc == 5 ? argv[1] : NULL, NULL, &err) || gram_score(model, &pair, 1, &v, &err)) {
        fprintf(stderr, "score: %s\n", err.text);
        return 1;           /* where gram_open() failed, model is NULL; the system frees the rest */
    }
    printf("The first answer is better with probability %.3f", v.preference);
    if (v.rewarded)         /* a reward model reads each answer by itself: there are no two orders */
        printf(" (rewards %.3f and %.3f).\n", v.reward[0].mean, v.reward[1].mean);
    else
        printf(" (%.3f and %.3f in the two orders).\n", v.p_forward, v.p_swapped);
    gram_close(model);
    return 0;
}
