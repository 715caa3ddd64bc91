"""The papers' settings: the 20 tasks with class names and templates, and the recipe of a table from a user's files.

1. `tasks`    the tasks in the papers' order, what else they are called, and how data sets name their classes
2. `finding`  a task's weights, head and images in a user's folders
3. `table`    one recipe of 8, 14 or 20 tasks, or one sentence with all that is missing
4. `build`    how `assets/papers/tasks.json` was made, from packages; nothing of it is needed to run the others
"""
