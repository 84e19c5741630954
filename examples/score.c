/* score.c - judge two answers to one question.
 *
 *     cc score.c $(pkg-config --cflags --libs gram) -o score
 *     ./score MODEL "Why is the sky blue?" "Rayleigh scattering." "It is painted."                 */
#include <stdio.h>
#include <gram/gram.h>

int main(int argc, char **argv)
{
    gram_message question = { .role = "user" };
    gram_pair pair = { .prompt = { .turn = &question, .n = 1 } };
    gram_model *model;
    gram_verdict v;
    gram_err err;

    if (argc != 5) {
        fprintf(stderr, "usage: score MODEL QUESTION ANSWER_1 ANSWER_2\n");
        return 2;
    }
    question.content = argv[2];
    pair.a = argv[3];
    pair.b = argv[4];
    if (gram_open(&model, argv[1], NULL, &err) || gram_score(model, &pair, 1, &v, &err)) {
        fprintf(stderr, "score: %s\n", err.text);
        return 1;           /* where gram_open() failed, model is NULL; the system frees the rest */
    }
    printf("The first answer is better with probability %.3f (%.3f and %.3f in the two orders).\n", v.preference,
           v.p_forward, v.p_swapped);
    gram_close(model);
    return 0;
}
