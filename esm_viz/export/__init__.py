"""Export of the merged model: weights, recipe, model card and loading code, checked against what was on screen."""
