"""From finds to a judgement: is what a campaign found better than luck? Numbers only, no bus."""
