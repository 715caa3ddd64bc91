"""How the embedded demo was made: a small CLIP, eight tasks, eight experts, and the files the studio opens.

Nothing here is needed to run the studio. It is kept as a worked example of preparing one's own models, from
packages on public registries to a recipe, and runs on two processor cores: `script/build-demo`.

The order of the chapters, one module each:

1. `sources`   packages with artwork, fonts and photographs, and under which licence
2. `artwork`   glyphs, icons, emoji and photographs read from those packages
3. `drawing`   one picture of 32 x 32 from artwork, a background and a random view
4. `tasks`     eight labelled data sets (`labelled`), each with its own look
5. `captions`  pictures with words, for what the base model knows beyond the tasks
6. `tower`     the architecture and the pixels it expects
7. `pretrain`  strong features: labels of all domains and captions, heads thrown away
8. `words`     a text tower that has read little, on the frozen image tower
9. `finetune`  eight experts that move only the blocks' matrices, and little
10. `pack`     the files of `assets/demo`
11. `report`   the table, by the package's own evaluation
12. `record`   sources, licences, hashes, seconds
13. `build`    all of it in order
"""
