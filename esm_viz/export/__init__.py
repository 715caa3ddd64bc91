"""The merged model as files, with proof: weights, recipe, model card and the lines of code that load them."""
